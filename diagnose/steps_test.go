package diagnose

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestDown: what the command says where no server answers, and what it has to go by.
func TestDown(t *testing.T) {
	t.Parallel()
	const crashing = `
- {op: add, path: /status/containerStatuses, value: [{name: holdfast, ready: false, restartCount: 3, image: x, imageID: "", state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {reason: Error, exitCode: 2}}}]}`
	for name, c := range map[string]struct{ change, says, does string }{
		"its Service is gone, too": {
			"delete: [Service/holdfast, Pod/holdfast-a, Pod/holdfast-b, EndpointSlice/holdfast-x]\npatch: {Deployment/holdfast: [{op: replace, path: /spec/replicas, value: 0}]}",
			"Deployment holdfast is scaled to 0", "kubectl -n holdfast-system scale deploy/holdfast --replicas=2",
		},
		"listed, and dead": {
			"", "no server of Holdfast's runs, although its endpoints are listed as ready: nothing listens at the port of its report: dial tcp: connection refused",
			"kubectl -n holdfast-system rollout restart deploy/holdfast",
		},
		"one crashes": {
			"patch:\n  Pod/holdfast-a:" + strings.ReplaceAll(crashing, "\n", "\n  "), "no server of Holdfast's runs: pod holdfast-a keeps ending (exit code 2, 3 restarts)",
			"kubectl -n holdfast-system logs holdfast-a --previous --tail=50",
		},
		"scaled to nothing": {
			"delete: [EndpointSlice/holdfast-x, Pod/holdfast-a, Pod/holdfast-b]\npatch:\n  Deployment/holdfast:\n  - {op: replace, path: /spec/replicas, value: 0}", "Deployment holdfast is scaled to 0",
			"kubectl -n holdfast-system scale deploy/holdfast --replicas=2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCase(t, map[string]string{"change.yaml": c.change, "subject.yaml": "outside: true"}, newSigner(t, "ours"), newSigner(t, "other"))
			s.ServerReport = func(context.Context) (*Report, error) { return nil, errors.New("dial tcp: connection refused") }
			s.seen = newSeen(t.Context())
			p := listener()
			r := p.answer(t.Context(), s)
			checkFix(t, &r)
			if r.State != Failed || !strings.Contains(r.Message, c.says) {
				t.Errorf("got %s: %s, want %q in it", r.State, r.Message, c.says)
			}
			if !strings.Contains("\n"+r.Fix+"\n", "\n"+c.does+"\n") {
				t.Errorf("got fix\n%s\nwant %q in it", r.Fix, c.does)
			}
			if r.Effect == "" {
				t.Error("got nothing on what it means for pods")
			}
		})
	}
}
