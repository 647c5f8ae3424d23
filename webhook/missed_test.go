package webhook

import (
	"strings"
	"testing"
)

// TestMissed: a pod that could have been put right, and was not, is refused with that reason: the next try is likely to succeed.
func TestMissed(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	out := e.review(t, ValidatePath, podCreation("enforce", stuck(t)))
	if out.Allowed || !strings.Contains(out.Result.Message, "(reorder) but was not called, or watched only: create the object again.") {
		t.Errorf("got allowed %v, %+v, want a refusal that says to try again", out.Allowed, out.Result)
	}
	if got := counted(t, e.metrics.failures.WithLabelValues(failedMissed)); got != 1 {
		t.Errorf("counted: got %v, want 1", got)
	}
}
