package main

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestReadmeQuotesRefusal: the refusal that the README shows is what the case that it describes says.
func TestReadmeQuotesRefusal(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := txtar.ParseFile("../../validators/testdata/late-dialer/fail-external-host.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range example.Files {
		if f.Name != "want" {
			continue
		}
		// The first finding takes two lines: what is wrong, behind its place, and what to do.
		lines := strings.SplitN(string(f.Data), "\n", 3)
		_, message, found := strings.Cut(lines[0], "]: ")
		if !found {
			t.Fatalf("got %q, want a finding about a container", lines[0])
		}
		if want := oneLine(message + " " + lines[1]); !strings.Contains(oneLine(string(readme)), want) {
			t.Errorf("README.md: got no such refusal, want %s", want)
		}
		return
	}
	t.Error("got a case without findings")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
