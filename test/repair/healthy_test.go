package repair

import (
	"os"
	"os/exec"
	"testing"

	"holdfast.dev/holdfast/diagnose"
)

// TestHealthy: in a cluster in which nothing is wrong, with Istio in it, every probe passes or asks for something that is not
// there, whoever asks: the command on an administrator's machine, the command in a pod, and the server itself.
func TestHealthy(t *testing.T) {
	s := shared
	reports := map[string]*diagnose.Report{"holdfast diagnose": s.settle(t)}
	cmd := exec.CommandContext(t.Context(), s.programs+"/kubectl", "-n", ns, "exec", "deploy/holdfast", "--", "/holdfast", "diagnose", "-o", "json")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.cluster.Kubeconfig())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl exec: %v\n%s", err, out)
	}
	reports["in a pod"] = decode(t, out)
	reports["/diagnosis"] = s.serverSays(t) // once it has forgotten what the test before has done to istiod
	for who, r := range reports {
		passed := 0
		for i := range r.Probes {
			l := &r.Probes[i]
			if l.State == diagnose.Passed {
				passed++
			}
			if l.State != diagnose.Passed && l.State != diagnose.NotApplicable {
				t.Errorf("%s: %s %s: got %s, want passed or not applicable: %s", who, l.Code, l.Object, l.State, l.Message)
			}
		}
		t.Logf("%s: %v in %.1f s", who, r.Counts, r.Seconds)
		for _, code := range []string{"HF201", "HF203", "HF209", "HF213", "HF214", "HF215"} {
			if l := line(r, code, ""); l.State != diagnose.Passed {
				t.Errorf("%s: %s: got %s, want passed: %s", who, code, l.State, l.Message)
			}
		}
		for _, code := range []string{"HF231", "HF232", "HF233", "HF234", "HF235", "HF236", "HF237"} {
			for _, name := range []string{istioMutating, istioValidating} {
				if l := line(r, code, name); l.State != diagnose.Passed && (code != "HF237" || l.State != diagnose.NotApplicable) {
					t.Errorf("%s: %s %s: got %s, want passed: %s", who, code, name, l.State, l.Message)
				}
			}
		}
	}
	if l := line(reports["holdfast diagnose"], "HF238", istioMutating); l.State != diagnose.Passed {
		t.Errorf("HF238: got %s, want passed: %s", l.State, l.Message)
	}
}
