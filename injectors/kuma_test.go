package injectors_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/injectors"
)

func TestKumaUsers(t *testing.T) {
	a := injectors.Kuma().Annotation(injectors.ExcludeUIDs)
	for value, ok := range map[string]bool{
		"100": true, "99-101": true, "80:100": true, "80,8000-8999:100": true, "tcp:80:100": true, "tcp,udp:*:100": true, "::100": true, "TCP:80:100": true,
		"100;200": true, "udp:53:100;tcp:8200:100": true,
		"": false, "*": false, "100,101": false, "100;": false, "100; 200": false, "65536": false, "200-100": false, "http:80:100": false, "tcp:web:100": false,
		"tcp:80:100:1": false, "vault": false, "-1": false,
	} {
		if err := a.Check(value); (err == nil) != ok {
			t.Errorf("%q: got error %v, want usable %v", value, err, ok)
		}
	}
	for value, want := range map[string]string{"": "100", "200": "200;100", "100": "100", "tcp:80:100": "tcp:80:100;100"} {
		if got := a.AddUID(value, 100); got != want {
			t.Errorf("%q with 100: got %s, want %s", value, got, want)
		}
	}
}

func TestKumaLists(t *testing.T) {
	kuma := injectors.Kuma()
	ports, cidrs := kuma.Annotation(injectors.ExcludePorts), kuma.Annotation(injectors.ExcludeCIDRs)
	for value, ok := range map[string]bool{"8200": true, "8200 , 3306,": true, "": true, "0": false, "8200-8210": false, "*": false} {
		if err := ports.Check(value); (err == nil) != ok {
			t.Errorf("ports %q: got error %v, want usable %v", value, err, ok)
		}
	}
	for value, ok := range map[string]bool{"10.96.7.7": true, "10.96.7.7/32, 2001:db8::/32": true, "vault": false, "10.96.7.7/33": false} {
		if err := cidrs.Check(value); (err == nil) != ok {
			t.Errorf("addresses %q: got error %v, want usable %v", value, err, ok)
		}
	}
}

func TestKumaHold(t *testing.T) {
	merge := injectors.Kuma().Hold.Merge
	for value, want := range map[string]string{"": "true", "false": "false", "true": "true", "perhaps": "perhaps"} {
		merged, decided, err := merge(value)
		if err != nil || merged != want || decided != (value != "") {
			t.Errorf("%q: got %q, decided %v, %v", value, merged, decided, err)
		}
	}
}

// TestKumaInbound reads what others reach only through the proxy.
func TestKumaInbound(t *testing.T) {
	for name, c := range map[string]struct {
		rendered string
		open     []uint16
		taken    []uint16
	}{
		"usual":    {"redirect: {inbound: {enabled: true}}", nil, []uint16{22, 8080}},
		"excluded": {"redirect: {inbound: {enabled: true, excludePorts: [9000, 9001]}}", []uint16{9000, 9001}, []uint16{8080}},
		"included": {`redirect: {inbound: {enabled: true, includePorts: "8080", excludePorts: [8080]}}`, []uint16{9000}, []uint16{8080}},
		"gateway":  {"redirect: {inbound: {enabled: false}}", []uint16{22, 8080}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := observed(injectors.Kuma(), map[string]string{"kuma.io/sidecar-injected": "true", "traffic.kuma.io/transparent-proxy-config": c.rendered},
				corev1.Container{Name: "kuma-init", Args: []string{"--config=/tmp/transparent-proxy/base/config.yaml"}}, corev1.Container{Name: "kuma-sidecar"})
			takes(t, p, c.open, c.taken)
		})
	}
}

func TestKumaDiscovery(t *testing.T) {
	proxy := corev1.Container{Name: "kuma-sidecar", Env: []corev1.EnvVar{{Name: "KUMA_CONTROL_PLANE_URL", Value: "https://kuma-control-plane.kuma-system:5678"}}}
	for _, spec := range []corev1.PodSpec{{Containers: []corev1.Container{proxy}}, {InitContainers: []corev1.Container{proxy}}} {
		said, want := injectors.Kuma().Discovery(injectors.PodTarget(&corev1.Pod{Spec: spec}, &injectors.Namespace{Name: "shop"}), nil)
		if said != "kuma-control-plane.kuma-system:5678" || want != "" {
			t.Errorf("got %q and %q", said, want)
		}
	}
}

// observed is the plan of a pod that one injector has changed.
func observed(i *injectors.Injector, annotations map[string]string, init, proxy corev1.Container) *injectors.Plan {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: annotations}, Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{init}, Containers: []corev1.Container{{Name: "app"}, proxy},
	}}
	env := &injectors.Env{Catalogue: injectors.NewCatalogue(i)}
	return injectors.New(injectors.PodTarget(pod, &injectors.Namespace{Name: "shop"}), env, injectors.Fact)
}

func takes(t *testing.T, p *injectors.Plan, open, taken []uint16) {
	t.Helper()
	if len(p.Meshes) != 1 {
		t.Fatalf("got %d redirects, want one", len(p.Meshes))
	}
	in := &p.Meshes[0].Capture.Inbound
	for _, port := range open {
		if got := in.Takes(port); got != injectors.No {
			t.Errorf("port %d: taken: got %s, want no", port, got)
		}
	}
	for _, port := range taken {
		if got := in.Takes(port); got != injectors.Yes {
			t.Errorf("port %d: taken: got %s, want yes", port, got)
		}
	}
}

// wordsOf is a pod in a namespace, both with what they say of injection. Words with an equals sign are labels, those with a
// colon annotations.
func wordsOf(pod, namespace string, hooks ...*injectors.Hook) *injectors.Target {
	meta, around := said(pod), said(namespace)
	return injectors.PodTarget(&corev1.Pod{ObjectMeta: meta}, &injectors.Namespace{
		Name: "shop", Labels: around.Labels, Annotations: around.Annotations, Hooks: hooks,
	})
}

func said(words string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Labels: map[string]string{}, Annotations: map[string]string{}}
	for word := range strings.FieldsSeq(words) {
		if key, value, ok := strings.Cut(word, "="); ok {
			meta.Labels[key] = value
		} else if key, value, ok := strings.Cut(word, ":"); ok {
			meta.Annotations[key] = value
		}
	}
	return meta
}

func TestKumaAsked(t *testing.T) {
	const key = "kuma.io/sidecar-injection"
	for name, c := range map[string]struct {
		pod, namespace string
		want           injectors.Tri
		muddle         []string
	}{
		"nobody":                      {want: injectors.Unknown},
		"the namespace":               {namespace: key + "=enabled", want: injectors.Yes},
		"the namespace, true":         {namespace: key + "=true", want: injectors.Yes},
		"the namespace, no":           {namespace: key + "=disabled", want: injectors.No},
		"the pod, no":                 {pod: key + "=disabled", namespace: key + "=enabled", want: injectors.No},
		"the pod goes over it":        {pod: key + "=enabled", namespace: key + "=disabled", want: injectors.Yes},
		"true in an enabled one":      {pod: key + "=true", namespace: key + "=enabled", want: injectors.Yes},
		"the pod, and no label there": {pod: key + "=enabled", want: injectors.Yes, muddle: []string{"label kuma.io/sidecar-injection=enabled on the pod has no effect: namespace shop has no such label"}},
		"the pod's webhook wants enabled": {
			pod: key + "=true", namespace: key + "=disabled", want: injectors.Yes,
			muddle: []string{"label kuma.io/sidecar-injection=true on the pod selects no webhook: nothing is injected"},
		},
		"an annotation on the pod": {pod: key + ":enabled", want: injectors.Unknown, muddle: []string{"annotation kuma.io/sidecar-injection on the pod is not read"}},
		"an annotation on the namespace": {
			namespace: key + ":enabled", want: injectors.Unknown,
			muddle: []string{"annotation kuma.io/sidecar-injection on namespace shop is not read"},
		},
		"a value that is none": {
			namespace: key + "=on", want: injectors.Unknown,
			muddle: []string{"label kuma.io/sidecar-injection=on on namespace shop is neither enabled nor disabled: nothing is injected"},
		},
		"yes selects nothing": {
			namespace: key + "=yes", want: injectors.Yes,
			muddle: []string{"label kuma.io/sidecar-injection=yes on namespace shop selects no webhook: nothing is injected"},
		},
	} {
		t.Run(name, func(t *testing.T) { asks(t, injectors.Kuma(), wordsOf(c.pod, c.namespace), c.want, c.muddle) })
	}
}

func asks(t *testing.T, i *injectors.Injector, target *injectors.Target, want injectors.Tri, muddle []string) {
	t.Helper()
	if got := i.Asked(target); got != want {
		t.Errorf("asked: got %s, want %s", got, want)
	}
	var got []string
	for _, m := range i.Muddle(target) {
		got = append(got, m.What)
		if m.Fix == "" || len(m.What)+len(m.Fix) > 240 {
			t.Errorf("muddle: got %d characters: %s %s", len(m.What)+len(m.Fix), m.What, m.Fix)
		}
	}
	if diff := cmp.Diff(muddle, got); diff != "" {
		t.Errorf("muddle (-want +got):\n%s", diff)
	}
}
