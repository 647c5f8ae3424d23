package webhook

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestReasonOfUnreadinessIsLoggedOnce(t *testing.T) {
	t.Parallel()
	var logged safeBuffer
	var state error
	check := explained(logged.logger(), "cluster", func(*http.Request) error { return state })
	ask := func(err error) {
		state = err
		for range 3 {
			if got := check(nil); !errors.Is(got, err) {
				t.Errorf("got %v, want %v", got, err)
			}
		}
	}
	ask(nil)
	ask(errors.New("nodes: not read yet"))
	ask(errors.New("services: not read yet"))
	ask(nil)
	lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "nodes: not read yet") || !strings.Contains(lines[1], "services: not read yet") || !strings.Contains(lines[2], "ready again") {
		t.Errorf("got\n%s\nwant two reasons and the end of them", logged.String())
	}
}
