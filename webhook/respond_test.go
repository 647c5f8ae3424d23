package webhook

import (
	"fmt"
	"strings"
	"testing"

	"holdfast.dev/holdfast/report"
)

func manyFindings(n int) []report.Finding {
	out := make([]report.Finding, n)
	for i := range out {
		out[i] = report.Finding{Code: "HF101", Severity: report.Error, Container: fmt.Sprintf("agent-%d", i), Message: "hangs"}
	}
	return out
}

func TestRefusalIsBounded(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]struct {
		lines int
		last  string
	}{
		1: {1, ""}, maxRefusals: {maxRefusals, ""}, 300: {maxRefusals + 1, "and 290 more"},
	} {
		result := refuse("web", manyFindings(n)).Result
		lines := strings.Split(result.Message, "\n")
		if len(lines) != want.lines || !strings.HasSuffix(lines[len(lines)-1], want.last) {
			t.Errorf("%d findings: got %d lines, the last %q; want %d, the last %q", n, len(lines), lines[len(lines)-1], want.lines, want.last)
		}
		if got := len(result.Details.Causes); got != min(n, maxRefusals) {
			t.Errorf("%d findings: got %d causes, want %d", n, got, min(n, maxRefusals))
		}
	}
}

func TestPlacesAreBounded(t *testing.T) {
	t.Parallel()
	if got, want := places(manyFindings(2)), "HF101:agent-0,HF101:agent-1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got := places(manyFindings(1000))
	listed := strings.Count(got, "HF101:")
	if len(got) > maxPlaces+20 || !strings.HasSuffix(got, fmt.Sprintf(",and %d more", 1000-listed)) {
		t.Errorf("got %d bytes, %d places and %q at the end", len(got), listed, got[len(got)-20:])
	}
}
