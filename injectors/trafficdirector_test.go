package injectors_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/injectors"
)

func called(name, service string) *injectors.Hook {
	return &injectors.Hook{Name: name, Service: service, Namespaces: labels.Everything(), Objects: labels.Everything()}
}

func tdHook() *injectors.Hook {
	return called("sidecar-injector.istio.io", "istio-control/istio-sidecar-injector")
}

func istioHook() *injectors.Hook {
	return called("namespace.sidecar-injector.istio.io", "istio-system/istiod")
}

func TestTrafficDirectorOwns(t *testing.T) {
	td, istio := injectors.TrafficDirector(), injectors.Istio()
	for _, c := range []struct {
		hook           *injectors.Hook
		director, mesh bool
	}{
		{tdHook(), true, false},
		{istioHook(), false, true},
		{called("sidecar-injector.istio.io", "istio-system/istio-sidecar-injector"), false, false}, // Istio before it had revisions
		{called("sidecar-injector.istio.io", ""), false, false},
	} {
		_, director := td.Owns(c.hook)
		_, mesh := istio.Owns(c.hook)
		if director != c.director || mesh != c.mesh {
			t.Errorf("%s of %s: got Traffic Director %v, Istio %v, want %v, %v", c.hook.Name, c.hook.Service, director, mesh, c.director, c.mesh)
		}
	}
}

// TestTrafficDirectorAsked: Istio's label and annotation ask for Traffic Director where that is who answers.
func TestTrafficDirectorAsked(t *testing.T) {
	const enabled = "istio-injection=enabled"
	for name, c := range map[string]struct {
		pod, namespace string
		hooks          []*injectors.Hook
		want, istio    injectors.Tri
		muddle         []string
	}{
		"its webhook":            {namespace: enabled, hooks: []*injectors.Hook{tdHook()}, want: injectors.Yes, istio: injectors.Unknown},
		"Istio's webhook":        {namespace: enabled, hooks: []*injectors.Hook{istioHook()}, want: injectors.Unknown, istio: injectors.Yes},
		"both":                   {namespace: enabled, hooks: []*injectors.Hook{istioHook(), tdHook()}, want: injectors.Yes, istio: injectors.Yes},
		"neither":                {namespace: enabled, want: injectors.Unknown, istio: injectors.Yes},
		"the pod declines":       {pod: "sidecar.istio.io/inject:false", namespace: enabled, hooks: []*injectors.Hook{tdHook()}, want: injectors.No, istio: injectors.No},
		"its own annotation":     {pod: "td-injection:true", want: injectors.Yes, istio: injectors.Unknown},
		"its own annotation, no": {pod: "td-injection:false", namespace: enabled, hooks: []*injectors.Hook{tdHook()}, want: injectors.No, istio: injectors.Unknown},
		"a label, which is Istio's": {
			pod: "sidecar.istio.io/inject=false", namespace: enabled, hooks: []*injectors.Hook{tdHook()}, want: injectors.Yes, istio: injectors.No,
			muddle: []string{"label sidecar.istio.io/inject=false on the pod is not read"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			target := wordsOf(c.pod, c.namespace, c.hooks...)
			asks(t, injectors.TrafficDirector(), target, c.want, c.muddle)
			if got := injectors.Istio().Asked(target); got != c.istio {
				t.Errorf("Istio: got %s, want %s", got, c.istio)
			}
		})
	}
}

func TestTrafficDirectorDiscovery(t *testing.T) {
	writer := func(args ...string) []corev1.Container {
		return []corev1.Container{{Name: "td-bootstrap-writer", Args: args}}
	}
	for name, c := range map[string]struct {
		inits    []corev1.Container
		settings *injectors.Settings
		want     string
	}{
		"nothing known":      {nil, nil, ""},
		"the argument":       {writer("--bootstrap_file_output_path=/x", "--traffic_director_url=trafficdirector.googleapis.com:443"), nil, "trafficdirector.googleapis.com:443"},
		"a wrong argument":   {writer("--traffic_director_url=istiod.istio-system.svc:15012"), &injectors.Settings{}, "istiod.istio-system.svc:15012"},
		"the settings":       {nil, &injectors.Settings{Discovery: "istiod.istio-system.svc:15012"}, "istiod.istio-system.svc:15012"},
		"no such argument":   {writer("--envoy_admin_port=15000"), &injectors.Settings{Discovery: "x:1"}, "x:1"},
		"argument over that": {writer("--traffic_director_url=y:2"), &injectors.Settings{Discovery: "x:1"}, "y:2"},
	} {
		t.Run(name, func(t *testing.T) {
			target := injectors.PodTarget(&corev1.Pod{Spec: corev1.PodSpec{InitContainers: c.inits}}, &injectors.Namespace{Name: "shop"})
			said, want := injectors.TrafficDirector().Discovery(target, c.settings)
			if said != c.want || want != "trafficdirector.googleapis.com:443" {
				t.Errorf("got %q, want %q; got should-be %q", said, c.want, want)
			}
		})
	}
}

// TestTrafficDirectorInbound: nothing is taken where the pod does not say what.
func TestTrafficDirectorInbound(t *testing.T) {
	status := map[string]string{"sidecar.istio.io/status": `{"initContainers":["td-bootstrap-writer","istio-init"]}`}
	for name, c := range map[string]struct {
		args        []string
		open, taken []uint16
	}{
		"usual":    {[]string{"-b", "", "-d", ""}, []uint16{80, 8080}, nil},
		"all":      {[]string{"-b", "*", "-d", ""}, nil, []uint16{80, 8080}},
		"excluded": {[]string{"-b", "*", "-d", "22,9000"}, []uint16{22, 9000}, []uint16{8080}},
		"listed":   {[]string{"-b", "8080", "-d", ""}, []uint16{80}, []uint16{8080}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"istio-iptables", "-u", "1337", "-i", "*"}, c.args...)
			p := observed(injectors.TrafficDirector(), status, corev1.Container{Name: "istio-init", Args: args}, corev1.Container{Name: "envoy"})
			takes(t, p, c.open, c.taken)
		})
	}
}

// TestTrafficDirectorReads reads its own namespace: Istio's ConfigMaps have the same names.
func TestTrafficDirectorReads(t *testing.T) {
	src := &injectors.Sources{
		Namespaces: []string{"istio-control", "istio-system"},
		ConfigMaps: map[string]map[string]string{
			"istio-system/istio-sidecar-injector": {"config": "policy: disabled"},
			"istio-control/injector-mesh":         {"mesh": "defaultConfig: {discoveryAddress: \"x:1\"}"},
		},
	}
	s := injectors.TrafficDirector().Read(src, "default")
	if s.Policy != injectors.Unknown || s.Discovery != "x:1" || s.ExcludeCIDRs != "169.254.169.254/32" || !s.ListsKnown() || s.CNI != injectors.No {
		t.Errorf("got %+v", s)
	}
}

func TestIstioDiscovery(t *testing.T) {
	const annotation = "proxy.istio.io/config"
	config := func(address string) map[string]string {
		return map[string]string{annotation: `{"discoveryAddress":"` + address + `"}`}
	}
	for name, c := range map[string]struct {
		annotations map[string]string
		env         string
		settings    *injectors.Settings
		hooks       []*injectors.Hook
		said, want  string
	}{
		"nothing known": {},
		"the mesh":      {settings: &injectors.Settings{Discovery: "istiod.istio-system.svc:15012"}, want: "istiod.istio-system.svc:15012"},
		"nobody says":   {settings: &injectors.Settings{}, hooks: []*injectors.Hook{called("rev.namespace.sidecar-injector.istio.io", "istio-system/istiod-canary")}},
		"behind a URL":  {hooks: []*injectors.Hook{called("rev.namespace.sidecar-injector.istio.io", "")}},
		"the pod":       {annotations: config("istiod.old.svc:15012"), hooks: []*injectors.Hook{istioHook()}, said: "istiod.old.svc:15012", want: "istiod.istio-system.svc:15012"},
		"the same, spelled out": {
			annotations: config("istiod.istio-system.svc.cluster.local.:15012"), hooks: []*injectors.Hook{istioHook()},
			said: "istiod.istio-system.svc:15012", want: "istiod.istio-system.svc:15012",
		},
		"other settings": {annotations: map[string]string{annotation: "concurrency: 2"}, hooks: []*injectors.Hook{istioHook()}},
		"broken":         {annotations: map[string]string{annotation: "[discoveryAddress"}, hooks: []*injectors.Hook{istioHook()}},
		"rendered": {
			annotations: map[string]string{"sidecar.istio.io/status": "{}"}, env: `{"discoveryAddress":"istiod.old.svc:15012"}`,
			said: "istiod.old.svc:15012",
		},
		"not injected": {env: `{"discoveryAddress":"istiod.old.svc:15012"}`},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: c.annotations}, Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "istio-proxy", Env: []corev1.EnvVar{{Name: "PROXY_CONFIG", Value: c.env}}}},
			}}
			said, want := injectors.Istio().Discovery(injectors.PodTarget(pod, &injectors.Namespace{Name: "shop", Hooks: c.hooks}), c.settings)
			if said != c.said || want != c.want {
				t.Errorf("got %q and %q, want %q and %q", said, want, c.said, c.want)
			}
		})
	}
}
