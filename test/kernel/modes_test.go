//go:build linux

package kernel_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/test/kernel"
)

// TestPositions plays every mode and variant of every mesh, with a container at every place: the first of all (which only a webhook
// after the mesh's can put there), the user's own, one that was appended, one of the proxy's user, the application and a
// main container behind the proxy.
func TestPositions(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	for _, tt := range []struct {
		mode  string
		reach string
		names string
	}{
		// The letters are of: first, migrate, agent, twin, app, late.
		{"appmesh", "DDXDXP", "DDDDDD"},
		{"appmesh, cni", "XXXDXP", "DDDDDD"},
		{"consul", "DDXDPP", "DDDDDD"},
		{"consul, cni", "XXXDPP", "DDDDDD"},
		{"consul, native", "DDPDPP", "DDDDDD"},
		{"consul, cni, native", "XXPDPP", "DDDDDD"},
		{"istio", "DDXDXP", "DDDDDD"},
		{"istio, cni", "XXXDXP", "DDDDDD"},
		{"istio, native", "DPPDPP", "DDDDDD"},
		{"istio, cni, native", "XPPDPP", "DDDDDD"},
		{"kuma", "DDXDPP", "DDXDPP"},
		{"kuma, cni", "XXXDPP", "XXXDPP"},
		{"kuma, native", "DPPDPP", "DPPDPP"},
		{"kuma, cni, native", "XPPDPP", "XPPDPP"},
		{"linkerd", "DDXDPP", "DDDDDD"},
		{"linkerd, cni", "XXXDPP", "DDDDDD"},
		{"linkerd, native", "DPPDPP", "DDDDDD"},
		{"linkerd, cni, native", "XPPDPP", "DDDDDD"},
		{"osm", "DDXDXP", "DDDDDD"},
		{"consul, not redirected", "DDDDDD", "DDDDDD"},
		{"consul, cni, not redirected", "DDDDDD", "DDDDDD"},
		{"consul, native, not redirected", "DDDDDD", "DDDDDD"},
		{"consul, cni, native, not redirected", "DDDDDD", "DDDDDD"},
		{"istio, capturing names", "DDXDXP", "DDXDXP"},
		{"istio, cni, capturing names", "XXXDXP", "XXXDXP"},
		{"istio, native, capturing names", "DPPDPP", "DPPDPP"},
		{"istio, cni, native, capturing names", "XPPDPP", "XPPDPP"},
		{"kuma, not capturing names", "DDXDPP", "DDDDDD"},
		{"kuma, cni, not capturing names", "XXXDPP", "DDDDDD"},
		{"kuma, native, not capturing names", "DPPDPP", "DDDDDD"},
		{"kuma, cni, native, not capturing names", "XPPDPP", "DDDDDD"},
		{"linkerd, not awaited", "DDXDXP", "DDDDDD"},
		{"linkerd, cni, not awaited", "XXXDXP", "DDDDDD"},
		{"linkerd, native, not awaited", "DPPDPP", "DDDDDD"},
		{"linkerd, cni, native, not awaited", "XPPDPP", "DDDDDD"},
		{"trafficdirector", "DDXDXP", "DDDDDD"},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			t.Parallel()
			pod := injected(t, tt.mode, kernel.Exempt{})
			got := reach(t, rig, pod, vault, "first", "migrate", "agent", "twin", "app", "late")
			if diff := cmp.Diff(tt.reach, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			got = reach(t, rig, pod, kernel.Nameserver(), "first", "migrate", "agent", "twin", "app", "late")
			if diff := cmp.Diff(tt.names, got); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

// TestModes holds the list of modes and the places of what the injectors add.
func TestModes(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"appmesh":              "migrate proxyinit / app envoy",
		"appmesh, cni":         "migrate / app envoy",
		"consul":               "migrate consul-connect-inject-init / consul-dataplane app",
		"consul, cni":          "migrate consul-connect-inject-init / consul-dataplane app",
		"consul, native":       "migrate consul-connect-inject-init consul-dataplane* / app",
		"consul, cni, native":  "migrate consul-connect-inject-init consul-dataplane* / app",
		"istio":                "migrate istio-init / app istio-proxy",
		"istio, cni":           "migrate istio-validation / app istio-proxy",
		"istio, native":        "istio-init istio-proxy* migrate / app",
		"istio, cni, native":   "istio-validation istio-proxy* migrate / app",
		"kuma":                 "migrate kuma-init / kuma-sidecar app",
		"kuma, cni":            "migrate kuma-validation / kuma-sidecar app",
		"kuma, native":         "kuma-init kuma-sidecar* migrate / app",
		"kuma, cni, native":    "kuma-validation kuma-sidecar* migrate / app",
		"linkerd":              "migrate linkerd-init / linkerd-proxy app",
		"linkerd, cni":         "migrate linkerd-network-validator / linkerd-proxy app",
		"linkerd, native":      "linkerd-init linkerd-proxy* migrate / app",
		"linkerd, cni, native": "linkerd-network-validator linkerd-proxy* migrate / app",
		"osm":                  "migrate osm-init / app envoy",
		"trafficdirector":      "migrate td-bootstrap-writer istio-init / app envoy",
	}
	plain := plainPod()
	before := plain.DeepCopy()
	got := map[string]string{}
	meshes := map[string]bool{}
	for _, mode := range kernel.Modes() {
		pod := mode.Inject(plain, kernel.Exempt{})
		var names []string
		for _, c := range pod.Spec.InitContainers {
			if c.RestartPolicy != nil {
				c.Name += "*"
			}
			names = append(names, c.Name)
		}
		names = append(names, "/")
		for _, c := range pod.Spec.Containers {
			names = append(names, c.Name)
		}
		got[mode.String()] = strings.Join(names, " ")
		meshes[mode.Mesh] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, plain); diff != "" {
		t.Errorf("the pod that was given changed (-before +after):\n%s", diff)
	}
	for _, mesh := range kernel.Meshes() {
		if !meshes[mesh] {
			t.Errorf("mesh %q has no mode", mesh)
		}
	}
}

// plainPod is a pod that no injector saw.
func plainPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "migrate"}},
			Containers:     []corev1.Container{{Name: "app"}},
		},
	}
}

// injected is plainPod as the mesh leaves it in that mode, with the containers of TestPositions.
func injected(t *testing.T, mode string, exempt kernel.Exempt) *corev1.Pod {
	t.Helper()
	for _, m := range slices.Concat(kernel.Modes(), kernel.Variants()) {
		if m.String() != mode {
			continue
		}
		pod := m.Inject(plainPod(), exempt)
		pod.Spec.InitContainers = slices.Concat(
			[]corev1.Container{{Name: "first", SecurityContext: runAs(100, 1000)}},
			pod.Spec.InitContainers,
			[]corev1.Container{{Name: "agent", SecurityContext: runAs(100, 1000)}, {Name: "twin", SecurityContext: proxyUser(pod)}},
		)
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "late"})
		return pod
	}
	t.Fatalf("no mode %q", mode)
	return nil
}

// proxyUser is the user of the pod's proxy, with a group of its own.
func proxyUser(pod *corev1.Pod) *corev1.SecurityContext {
	proxies := []string{"istio-proxy", "linkerd-proxy", "consul-dataplane", "kuma-sidecar", "envoy"}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			if slices.Contains(proxies, c.Name) {
				return runAs(*c.SecurityContext.RunAsUser, 3000)
			}
		}
	}
	return nil
}

// reach is the letters of what became of the containers' attempts, in the order in which they are named.
func reach(t *testing.T, rig *kernel.Rig, pod *corev1.Pod, dest kernel.Destination, names ...string) string {
	t.Helper()
	results, err := rig.Play(t.Context(), pod, only(dest, names...))
	if err != nil {
		t.Fatal(err)
	}
	return verdicts(t, results, names...)
}

func verdicts(t *testing.T, results []kernel.Result, names ...string) string {
	t.Helper()
	letter := map[kernel.Verdict]string{kernel.Direct: "D", kernel.Proxied: "P", kernel.Refused: "X"}
	var got []string
	for _, name := range names {
		i := slices.IndexFunc(results, func(r kernel.Result) bool { return r.Container == name })
		if i < 0 {
			got = append(got, "-") // It had no turn.
			continue
		}
		got = append(got, letter[results[i].Verdict])
	}
	return strings.Join(got, "")
}
