package diagnose

import (
	"bytes"
	"testing"

	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/holdfast"
)

// TestInstallations asks about every way in which Holdfast is installed: nothing is wrong with any of them. The command finds
// each by itself.
func TestInstallations(t *testing.T) {
	binaries, err := controlplane.Build(t.Context(), t.Output())
	check(t, err)
	cluster, err := controlplane.Start(t.Context(), controlplane.Options{Binaries: binaries, Log: t.Output()})
	check(t, err)
	t.Cleanup(cluster.Stop)
	client, err := kubernetes.NewForConfig(cluster.Config())
	check(t, err)
	check(t, cluster.CreateNamespace(t.Context(), "istio-system", nil))
	check(t, cluster.CreateNamespace(t.Context(), "shop", map[string]string{"holdfast.dev/mode": "enforce"}))
	for name, o := range map[string]holdfast.Options{
		"as shipped":                             {Overlay: "cluster-wide"},
		"opt-in, another namespace and a prefix": {Overlay: "opt-in", Namespace: "platform", Prefix: "acme-"},
		"called by URL":                          {Overlay: "opt-in", URLs: true},
		"quiet":                                  {Overlay: "opt-in", Args: []string{"--startup-diagnosis=off"}},
	} {
		t.Run(name, func(t *testing.T) {
			o.Binary = shared.binary
			i, err := holdfast.Install(t.Context(), cluster, o)
			check(t, err)
			t.Cleanup(i.Stop)
			s := &suite{cluster: cluster, client: client, installation: i, binary: shared.binary}
			var want []string
			if o.Namespace != "" { // kustomize moves the Role for istio-system too, which manifests/README.md says
				want = []string{"HF218 warning"}
			}
			r := settle(t, "holdfast diagnose", func(t *testing.T) *diagnose.Report { t.Helper(); return s.diagnose(t) }, want...)
			for k := range r.Probes {
				if l := &r.Probes[k]; l.Object == "" && len(want) == 0 && l.State != diagnose.Passed && l.State != diagnose.NotApplicable {
					t.Errorf("%s: got %s, want passed or not applicable: %s", l.Code, l.State, l.Message)
				}
			}
			if got := line(r, "HF215").State; got != diagnose.Passed {
				t.Errorf("HF215: got %s, want passed", got)
			}
			if got := line(r, "HF210").State; o.URLs != (got == diagnose.NotApplicable) {
				t.Errorf("HF210: got %s", got)
			}
			if log := s.log(t); len(o.Args) > 0 && bytes.Contains(log, []byte("probe answered")) {
				t.Errorf("it was told to be quiet:\n%s", log)
			}
		})
	}
}
