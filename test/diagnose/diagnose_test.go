package diagnose

import (
	"testing"

	"holdfast.dev/holdfast/diagnose"
)

// TestHealthy: every probe passes, or asks for something that is not there.
func TestHealthy(t *testing.T) {
	s := shared
	r := s.healthy(t)
	t.Log(text(r))
	for i := range r.Probes {
		l := &r.Probes[i]
		if l.State != diagnose.Passed && l.State != diagnose.NotApplicable {
			t.Errorf("%s: got %s, want passed or not applicable: %s", l.Code, l.State, l.Message)
		}
	}
	for _, code := range []string{"HF201", "HF203", "HF209", "HF215"} {
		if got := line(r, code).State; got != diagnose.Passed {
			t.Errorf("%s: got %s, want passed", code, got)
		}
	}
	own := s.asked(t)
	if got := causes(own); len(got) > 0 {
		t.Errorf("/diagnosis: got %v, want nothing\n%s", got, text(own))
	}
	if own.Replica != "holdfast-0" || own.Port != 9443 || own.Certificate == "" {
		t.Errorf("/diagnosis: got replica %q, port %d and a certificate of %d bytes", own.Replica, own.Port, len(own.Certificate))
	}
}
