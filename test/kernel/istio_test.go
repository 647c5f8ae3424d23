//go:build linux

package kernel

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPluginDefaults(t *testing.T) {
	t.Parallel()
	got, err := pluginArgs(pluginPod())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"istio-iptables", "--cni-mode", "-p", "15001", "-u", "1337", "-g", "1337", "-m", "REDIRECT", "-i", "*", "-x", "",
		"-b", "*", "-d", "15020,15021,15090", "-q", "", "-o", "15020", "-c", "", "-k", "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

func TestPluginReads(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		apply func(*corev1.Pod)
		want  string
	}{
		{"included ranges", note("traffic.sidecar.istio.io/includeOutboundIPRanges", ""), "-i  -x"},
		{"excluded ranges", note("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.0.0.0/8"), "-x 10.0.0.0/8 -b"},
		{"included ports in", note("traffic.sidecar.istio.io/includeInboundPorts", "80"), "-b 80 -d"},
		{"excluded ports in", note("traffic.sidecar.istio.io/excludeInboundPorts", "80,15020"), "-d 80,15020,15021,15090 -q"},
		{"no excluded ports in", note("traffic.sidecar.istio.io/excludeInboundPorts", ""), "-d 15020,15021,15090 -q"},
		{"included ports out", note("traffic.sidecar.istio.io/includeOutboundPorts", "8200"), "-q 8200 -o"},
		{"excluded ports out replace the default", note("traffic.sidecar.istio.io/excludeOutboundPorts", "8200"), "-o 8200 -c"},
		{"excluded interfaces", note("traffic.sidecar.istio.io/excludeInterfaces", "net1"), "-c net1 -k"},
		{"rerouted interfaces", note("istio.io/reroute-virtual-interfaces", "net1"), "-k net1"},
		{"rerouted interfaces, old name", note("traffic.sidecar.istio.io/kubevirtInterfaces", "net1"), "-k net1"},
		{"interception mode", note("sidecar.istio.io/interceptionMode", "TPROXY"), "-m TPROXY -i"},
		{"DNS capture", enable("ISTIO_META_DNS_CAPTURE"), "--redirect-dns --capture-all-dns"},
		{"dual stack", enable("ISTIO_DUAL_STACK"), "--dual-stack"},
		{"invalid packets", enable("INVALID_DROP"), "--drop-invalid"},
		{"user and group", ids(2000, 3000), "-u 2000 -g 3000 -m"},
		{"user 0", ids(0, 1337), "-u 1337 -g 1337 -m"},
		{"label overrides annotation", func(pod *corev1.Pod) {
			pod.Annotations["sidecar.istio.io/inject"] = "false"
			pod.Labels = map[string]string{"sidecar.istio.io/inject": "true"}
		}, "-p 15001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pod := pluginPod()
			tt.apply(pod)
			args, err := pluginArgs(pod)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(args, " "); !strings.Contains(got, tt.want) {
				t.Errorf("got %s, want it to have %s", got, tt.want)
			}
		})
	}
}

func TestPluginSkips(t *testing.T) {
	t.Parallel()
	for name, apply := range map[string]func(*corev1.Pod){
		"no status":     func(pod *corev1.Pod) { delete(pod.Annotations, "sidecar.istio.io/status") },
		"no proxy":      func(pod *corev1.Pod) { pod.Spec.Containers = nil },
		"no validation": func(pod *corev1.Pod) { pod.Spec.InitContainers = nil },
		"istio-init": func(pod *corev1.Pod) {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: "istio-init"})
		},
		"no Envoy":               enable("DISABLE_ENVOY"),
		"a gateway":              func(pod *corev1.Pod) { pod.Spec.Containers[0].Args = []string{"proxy", "router"} },
		"forbidden":              note("sidecar.istio.io/inject", "false"),
		"forbidden by label":     func(pod *corev1.Pod) { pod.Labels = map[string]string{"sidecar.istio.io/inject": "false"} },
		"the system's namespace": func(pod *corev1.Pod) { pod.Namespace = "kube-system" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := pluginPod()
			apply(pod)
			args, err := pluginArgs(pod)
			if err != nil {
				t.Fatal(err)
			}
			if args != nil {
				t.Errorf("got %v, want no rules", args)
			}
		})
	}
}

func TestPluginRefusesMode(t *testing.T) {
	t.Parallel()
	pod := pluginPod()
	note("sidecar.istio.io/interceptionMode", "NONE")(pod)
	if args, err := pluginArgs(pod); err == nil {
		t.Errorf("got %v, want an error", args)
	}
}

// TestPluginNative finds the proxy among the init containers, where native sidecars are.
func TestPluginNative(t *testing.T) {
	t.Parallel()
	pod := pluginPod()
	ids(2000, 3000)(pod)
	pod.Spec.InitContainers = slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	pod.Spec.Containers = nil
	args, err := pluginArgs(pod)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(args, " "), "-u 2000 -g 3000"; !strings.Contains(got, want) {
		t.Errorf("got %s, want it to have %s", got, want)
	}
}

func pluginPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"sidecar.istio.io/status": "{}"}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "istio-validation"}},
			Containers:     []corev1.Container{{Name: "istio-proxy", Args: []string{"proxy", "sidecar"}}},
		},
	}
}

func note(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations[key] = value }
}

func enable(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: name, Value: "true"}}
	}
}

func ids(uid, gid int64) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: &uid, RunAsGroup: &gid}
	}
}
