package diagnose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/injectors"
)

// TestSample: the pod that is tried is one that the selectors match, where users' pods are sent too.
func TestSample(t *testing.T) {
	t.Parallel()
	namespace := func(name string, labels map[string]string) corev1.Namespace {
		return corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	enabled := map[string]string{"istio-injection": "enabled"}
	gone := namespace("aaa", enabled)
	gone.Status.Phase = corev1.NamespaceTerminating
	tests := []struct {
		name       string
		injector   *injectors.Injector
		revision   string
		namespaces []corev1.Namespace
		want       string // NAMESPACE LABELS
	}{
		{
			"a namespace that is selected", injectors.Istio(), "default",
			[]corev1.Namespace{namespace("default", nil), gone, namespace("kube-system", enabled), namespace("shop", enabled), namespace("web", enabled)},
			"shop ",
		},
		{
			"rather one that is not strict", injectors.Istio(), "default",
			[]corev1.Namespace{namespace("shop", map[string]string{"istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}), namespace("web", enabled)},
			"web ",
		},
		{
			"by a label of the pod, where no namespace is", injectors.Istio(), "canary",
			[]corev1.Namespace{namespace("holdfast-system", nil), namespace("kube-system", nil), namespace("shop", nil)},
			"shop istio.io/rev=canary",
		},
		{"nowhere", injectors.Istio(), "canary", []corev1.Namespace{namespace("kube-system", nil), namespace("shop", enabled)}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := istioConfig("x", test.revision, nil)
			n := &neighbour{injector: test.injector}
			for i := range c.Webhooks {
				w := &c.Webhooks[i]
				e := &Entry{Mutating: true, Configuration: c.Name}
				e.Name, e.Rules, e.NamespaceSelector, e.ObjectSelector = w.Name, w.Rules, w.NamespaceSelector, w.ObjectSelector
				n.entries = append(n.entries, e)
			}
			got := ""
			if sample := n.sample(&Subject{Own: Own{Namespace: "holdfast-system"}}, test.namespaces); sample != nil {
				got = sample.pod.Namespace + " " + labelText(sample.pod.Labels)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSampleKeepsAway from namespaces where another injector is called too, whose failure would hide the one that is asked about.
func TestSampleKeepsAway(t *testing.T) {
	t.Parallel()
	rules := istioConfig("x", "default", nil).Webhooks[0].Rules
	everywhere, meshed := &Entry{Mutating: true}, &Entry{Mutating: true}
	everywhere.Rules, meshed.Rules = rules, rules
	meshed.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"istio-injection": "enabled"}}
	n := &neighbour{entries: []*Entry{everywhere}, all: &neighbourhood{}}
	n.all.list = []*neighbour{n, {entries: []*Entry{meshed}}}
	got := n.sample(&Subject{}, []corev1.Namespace{
		{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"istio-injection": "enabled"}}}, {ObjectMeta: metav1.ObjectMeta{Name: "b"}},
	})
	if got == nil || got.pod.Namespace != "b" {
		t.Errorf("got %v, want a pod in namespace b", got)
	}
}

// TestRequests: an injector that acts on request alone is asked, by annotations that its webhook reads. Which of them it reads may
// depend on its release, and whether it acts on who creates the pod.
func TestRequests(t *testing.T) {
	t.Parallel()
	for _, i := range injectors.Builtin() {
		if len(i.Request) == 0 {
			continue
		}
		n := &neighbour{injector: i}
		target := injectors.PodTarget(n.bare("shop", nil), &injectors.Namespace{Name: "shop"})
		if got := i.Wants(target, &injectors.Settings{}); got == injectors.No {
			t.Errorf("%s: wants the probe's pod: got no, want yes or unknown", i.Name)
		}
		bare := injectors.PodTarget((&neighbour{}).bare("shop", nil), &injectors.Namespace{Name: "shop"})
		if got := i.Wants(bare, &injectors.Settings{}); got == injectors.Yes {
			t.Errorf("%s: wants a pod that does not ask: got yes, want no or unknown", i.Name)
		}
	}
}
