package validators_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/validators"
)

// fake is an injector that is asked by an annotation and leaves pods alone that are on the host's network; hears are the keys that
// it reads.
func fake(name string, hears ...string) *injectors.Injector {
	asked := func(t *injectors.Target) injectors.Tri {
		for _, key := range hears {
			if t.Annotation(key) == "true" {
				return injectors.Yes
			}
		}
		return injectors.Unknown
	}
	i := &injectors.Injector{
		Name: name, Title: strings.ToUpper(name[:1]) + name[1:],
		Containers: map[string]injectors.Role{name + "-proxy": injectors.Helper},
		Owns:       func(h *injectors.Hook) (string, bool) { return "", h.Name == name },
		Asked:      asked,
		Wants: func(t *injectors.Target, _ *injectors.Settings) injectors.Tri {
			return injectors.TriOf(asked(t) == injectors.Yes && !t.Spec.HostNetwork)
		},
	}
	for _, key := range hears {
		i.Annotations = append(i.Annotations, injectors.Annotation{Key: key})
	}
	return i
}

// judged returns what the rules say of a pod with one annotation, where the webhooks of the named injectors are registered and
// called.
func judged(t *testing.T, spec corev1.PodSpec, annotation string, all []*injectors.Injector, called ...string) []string {
	t.Helper()
	c := injectors.NewCatalogue(all...)
	n := &injectors.Namespace{Name: "shop"}
	for _, name := range called {
		n.Hooks = append(n.Hooks, &injectors.Hook{Configuration: name, Name: name, Namespaces: labels.Everything(), Objects: labels.Everything()})
	}
	n.Registered = n.Hooks
	c.Identify(n.Hooks, &injectors.Sources{}, nil)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{annotation: "true"}}, Spec: spec}
	var out []string
	for _, f := range validators.Judge(injectors.New(injectors.PodTarget(pod, n), &injectors.Env{Catalogue: c}, injectors.Fact), config.Default()) {
		out = append(out, f.Severity.String()+" "+f.String())
	}
	return out
}

// TestAskedInTheSameWords: of two injectors that read the same annotation, one descends from the other, and one is enough.
func TestAskedInTheSameWords(t *testing.T) {
	one, two, three := fake("one", "mesh.example/inject"), fake("two", "mesh.example/inject"), fake("three", "other.example/inject")
	all := []*injectors.Injector{one, two, three}
	nobody := func(title string) string {
		return "warning HF132 Pod/web: nobody does " + title + "'s injection: no webhook of " + title + " is registered. Install it, or do not ask for it."
	}
	for name, tt := range map[string]struct {
		annotation string
		called     []string
		want       []string
	}{
		"the first":      {"mesh.example/inject", []string{"one"}, nil},
		"the second":     {"mesh.example/inject", []string{"two"}, nil},
		"another":        {"mesh.example/inject", []string{"three"}, []string{nobody("One"), nobody("Two")}},
		"the other way":  {"other.example/inject", []string{"one", "two"}, []string{nobody("Three")}},
		"nothing asked":  {"other.example/name", []string{"one"}, nil},
		"nothing known":  {"mesh.example/inject", nil, nil},
		"only strangers": {"other.example/inject", []string{"stranger.example"}, []string{nobody("Three")}},
	} {
		if diff := cmp.Diff(tt.want, judged(t, corev1.PodSpec{}, tt.annotation, all, tt.called...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestHostNetwork: what leaves such a pod alone is found out, not known.
func TestHostNetwork(t *testing.T) {
	shy, bold := fake("shy", "mesh.example/inject"), fake("bold", "agent.example/inject")
	bold.Wants = func(t *injectors.Target, _ *injectors.Settings) injectors.Tri { return bold.Asked(t) }
	shy.Decline = injectors.Decline{Key: "mesh.example/inject", Value: "false"}
	all := []*injectors.Injector{shy, bold}
	want := []string{
		`info HF134 Pod/web: Shy's injection is asked for, but Shy leaves pods with hostNetwork alone. Annotate the pod: mesh.example/inject: "false"`,
	}
	on := corev1.PodSpec{HostNetwork: true}
	there := corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{Name: "shy-proxy"}}}
	for name, tt := range map[string]struct {
		spec       corev1.PodSpec
		annotation string
		called     []string
		want       []string
	}{
		"asked":                          {on, "mesh.example/inject", nil, want},
		"asked, and called":              {on, "mesh.example/inject", []string{"shy"}, want},
		"asked, and nobody is called":    {on, "mesh.example/inject", []string{"bold"}, nil},
		"injected all the same":          {there, "mesh.example/inject", nil, nil},
		"an injector that does not mind": {on, "agent.example/inject", nil, nil},
		"not on the host's network":      {corev1.PodSpec{}, "mesh.example/inject", nil, nil},
	} {
		if diff := cmp.Diff(tt.want, judged(t, tt.spec, tt.annotation, all, tt.called...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestInjectionLabels: everything that an injector finds contradictory is said, as a sentence.
func TestInjectionLabels(t *testing.T) {
	i := fake("one", "mesh.example/inject")
	i.Muddle = func(*injectors.Target) []injectors.Muddle {
		return []injectors.Muddle{{What: "label a does nothing", Fix: "Remove it."}, {What: "label b contradicts label c.", Fix: "Remove label c."}}
	}
	want := []string{"warning HF131 Pod/web: label a does nothing. Remove it.", "warning HF131 Pod/web: label b contradicts label c. Remove label c."}
	if diff := cmp.Diff(want, judged(t, corev1.PodSpec{}, "some.example/thing", []*injectors.Injector{i})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRevisions: webhooks that differ in the revision alone are spoken of together, and a label that is in the way is named with the
// one that is missing.
func TestRevisions(t *testing.T) {
	mesh := fake("mesh", "mesh.example/inject")
	c := injectors.NewCatalogue(mesh)
	hook := func(name, namespaces, objects string) *injectors.Hook {
		h := &injectors.Hook{Configuration: name, Name: "mesh", Injector: mesh}
		var err error
		if h.Namespaces, err = labels.Parse(namespaces); err != nil {
			t.Fatal(err)
		}
		if h.Objects, err = labels.Parse(objects); err != nil {
			t.Fatal(err)
		}
		return h
	}
	registered := []*injectors.Hook{
		hook("mesh", "rev in (default), !injection", "inject notin (false)"),
		hook("mesh", "!rev, !injection", "inject notin (false), rev in (default)"),
		hook("mesh-prod", "rev in (prod), !injection", "inject notin (false)"),
		hook("mesh-prod", "!rev, !injection", "inject notin (false), rev in (prod)"),
	}
	for name, tt := range map[string]struct {
		namespace, pod map[string]string
		want           string
	}{
		"another revision": {
			map[string]string{"rev": "canary"},
			nil,
			"its webhook wants rev=default or prod, namespace shop has rev=canary. kubectl label --overwrite namespace shop rev=default",
		},
		"another revision of the pod": {
			nil,
			map[string]string{"rev": "canary"},
			`its webhook wants rev=default or prod, the pod has rev=canary. Label the pod: rev: "default"`,
		},
		"a label in the way": {
			map[string]string{"injection": "enabled"},
			nil,
			"its webhook wants rev=default or prod and no injection, namespace shop has injection=enabled. kubectl label --overwrite namespace shop rev=default injection-",
		},
		"nothing said":           {nil, nil, `its webhook wants rev=default or prod, the pod has no such label. Label the pod: rev: "default"`},
		"declined in passing":    {map[string]string{"rev": "prod"}, map[string]string{"inject": "false"}, ""},
		"called":                 {map[string]string{"rev": "prod"}, nil, ""},
		"too much to say at all": {map[string]string{"injection": "enabled"}, map[string]string{"inject": "false"}, "mesh, mesh-prod selects neither the pod nor its namespace. kubectl get mutatingwebhookconfiguration mesh -o yaml"},
	} {
		n := &injectors.Namespace{Name: "shop", Labels: tt.namespace, Registered: registered, Hooks: injectors.In(registered, tt.namespace)}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: tt.pod, Annotations: map[string]string{"mesh.example/inject": "true"}}}
		var got, want []string
		for _, f := range validators.Judge(injectors.New(injectors.PodTarget(pod, n), &injectors.Env{Catalogue: c}, injectors.Fact), config.Default()) {
			got = append(got, f.Text())
		}
		if tt.want != "" {
			want = []string{"HF132 Pod/web: nobody does Mesh's injection: " + tt.want}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
