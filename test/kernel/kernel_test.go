//go:build linux

package kernel_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/kernel"
)

// vault is where every container of these pods wants to go.
var vault = kernel.Destination{Addr: netip.MustParseAddr("10.96.7.7"), Port: 8200}

// TestTruthTable plays what the API server made of one pod under every mode of Istio and Vault: with redirect by init
// container or by node plugin, native sidecar or not, Istio's webhook reinvoked or not, vault-agent-init first or not.
func TestTruthTable(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	// The list says the mode: istio-validation is the node plugin's, a star is a native sidecar.
	rows := []struct {
		row    int
		inits  string
		native bool
		want   string
	}{
		{1, "migrate, istio-init, vault-agent-init", false, "migrate D, vault-agent-init X, app X"},
		{2, "vault-agent-init, migrate, istio-init", false, "vault-agent-init D, migrate D, app X"},
		{3, "migrate, vault-agent-init, istio-init", false, "migrate D, vault-agent-init D, app X"},
		{4, "vault-agent-init, migrate, istio-init", false, "vault-agent-init D, migrate D, app X"},
		{5, "istio-validation, migrate, vault-agent-init", false, "migrate X, vault-agent-init X, app X"},
		{6, "vault-agent-init, istio-validation, migrate", false, "vault-agent-init X, migrate X, app X"},
		{7, "istio-validation, migrate, vault-agent-init", false, "migrate X, vault-agent-init X, app X"},
		{8, "istio-validation, vault-agent-init, migrate", false, "vault-agent-init X, migrate X, app X"},
		{9, "istio-init, istio-proxy, migrate, vault-agent-init", true, "migrate P, vault-agent-init P, app P"},
		{10, "vault-agent-init, istio-init, istio-proxy, migrate", true, "vault-agent-init D, migrate P, app P"},
		{11, "istio-init, istio-proxy, migrate, vault-agent-init", true, "migrate P, vault-agent-init P, app P"},
		{12, "istio-init, istio-proxy, vault-agent-init, migrate", true, "vault-agent-init P, migrate P, app P"},
		{13, "istio-validation, istio-proxy, migrate, vault-agent-init", true, "migrate P, vault-agent-init P, app P"},
		{14, "vault-agent-init, istio-validation, istio-proxy, migrate", true, "vault-agent-init X, migrate P, app P"},
		{15, "istio-validation, istio-proxy, migrate, vault-agent-init", true, "migrate P, vault-agent-init P, app P"},
		{16, "istio-validation, istio-proxy, vault-agent-init, migrate", true, "vault-agent-init P, migrate P, app P"},
	}
	for _, row := range rows {
		t.Run(fmt.Sprintf("row %d: %s", row.row, row.inits), func(t *testing.T) {
			t.Parallel()
			pod := newPod(row.inits)
			if native := len(pod.Spec.Containers) == 2; native != row.native {
				t.Fatalf("got native %v, want %v", native, row.native)
			}
			got := play(t, rig, pod, vault)
			if diff := cmp.Diff(row.want, letters(got)); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s%v", diff, got)
			}
		})
	}
}

// TestHold is the race under app in the truth table, decided: where the proxy is first, the app finds it serving.
func TestHold(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	for inits, want := range map[string]string{
		"migrate, istio-init, vault-agent-init":       "migrate D, vault-agent-init X, app P",
		"istio-validation, migrate, vault-agent-init": "migrate X, vault-agent-init X, app P",
	} {
		t.Run(inits, func(t *testing.T) {
			t.Parallel()
			pod := newPod(inits)
			slices.Reverse(pod.Spec.Containers)
			pod.Spec.Containers[0], pod.Spec.Containers[1] = pod.Spec.Containers[1], pod.Spec.Containers[0]
			got := play(t, rig, pod, vault)
			if diff := cmp.Diff(want, letters(got)); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s%v", diff, got)
			}
		})
	}
}

// TestRescues plays what frees a stuck container, and what only seems to.
func TestRescues(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	const (
		cni  = "istio-validation, migrate, vault-agent-init"
		init = "migrate, istio-init, vault-agent-init"

		excludeRanges = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
		excludePorts  = "traffic.sidecar.istio.io/excludeOutboundPorts"
	)
	for _, tt := range []struct {
		remedy string
		inits  string
		apply  func(*corev1.Pod)
		want   string
		names  string
	}{
		{
			"node plugin: exclude the address", cni,
			annotate(excludeRanges, "10.96.7.7/32"),
			"migrate D, vault-agent-init D, app D", "migrate D, vault-agent-init D",
		},
		{
			"node plugin: exclude the port", cni,
			annotate(excludePorts, "8200"),
			"migrate D, vault-agent-init D, app D", "migrate D, vault-agent-init D",
		},
		{
			"node plugin: the proxy's user for vault-agent-init", cni,
			edit("vault-agent-init", func(c *corev1.Container) { c.SecurityContext.RunAsUser = new(int64(1337)) }),
			"migrate X, vault-agent-init D, app X", "migrate D, vault-agent-init D",
		},
		{
			"node plugin: the proxy's group for vault-agent-init", cni,
			edit("vault-agent-init", func(c *corev1.Container) { c.SecurityContext.RunAsGroup = new(int64(1337)) }),
			"migrate X, vault-agent-init D, app X", "migrate D, vault-agent-init D",
		},
		{
			"node plugin, DNS capture: exclude the address", cni,
			all(captureDNS, annotate(excludeRanges, "10.96.7.7/32")),
			"migrate D, vault-agent-init D, app D", "migrate X, vault-agent-init X",
		},
		{
			"node plugin, DNS capture: exclude the address and port 53", cni,
			all(captureDNS, annotate(excludeRanges, "10.96.7.7/32"), annotate(excludePorts, "53")),
			"migrate D, vault-agent-init D, app D", "migrate D, vault-agent-init D",
		},
		{
			"node plugin, DNS capture: the proxy's group for vault-agent-init", cni,
			all(captureDNS, edit("vault-agent-init", func(c *corev1.Container) {
				c.SecurityContext.RunAsGroup = new(int64(1337))
			})),
			"migrate X, vault-agent-init D, app X", "migrate X, vault-agent-init D",
		},
		{
			"init container: exclude the address before Istio's webhook", init,
			all(annotate(excludeRanges, "10.96.7.7/32"), edit("istio-init", func(c *corev1.Container) {
				c.Args[slices.Index(c.Args, "-x")+1] = "10.96.7.7/32"
			})),
			"migrate D, vault-agent-init D, app D", "migrate D, vault-agent-init D",
		},
		{
			"init container: exclude the address after Istio's webhook", init,
			annotate(excludeRanges, "10.96.7.7/32"),
			"migrate D, vault-agent-init X, app X", "migrate D, vault-agent-init D",
		},
		{
			"init container, DNS capture", init, captureDNS,
			"migrate D, vault-agent-init X, app X", "migrate D, vault-agent-init X",
		},
		{
			"native sidecar, DNS capture", "istio-validation, istio-proxy, migrate, vault-agent-init", captureDNS,
			"migrate P, vault-agent-init P, app P", "migrate P, vault-agent-init P",
		},
	} {
		t.Run(tt.remedy, func(t *testing.T) {
			t.Parallel()
			pod := newPod(tt.inits)
			tt.apply(pod)
			got := play(t, rig, pod, vault)
			if diff := cmp.Diff(tt.want, letters(got)); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s%v", diff, got)
			}
			got = play(t, rig, pod, kernel.Nameserver())
			got = slices.DeleteFunc(got, func(r kernel.Result) bool { return r.Container == "app" })
			if diff := cmp.Diff(tt.names, letters(got)); diff != "" {
				t.Errorf("names (-want +got):\n%s%v", diff, got)
			}
		})
	}
}

// newPod returns a pod as it looks after admission: the listed init containers, app, and istio-proxy where it is not in
// the list.
func newPod(inits string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "shop", Annotations: map[string]string{"sidecar.istio.io/status": "{}"},
	}}
	for name := range strings.SplitSeq(inits, ", ") {
		c := newContainer(name)
		if name == "istio-proxy" {
			c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	pod.Spec.Containers = append(pod.Spec.Containers, newContainer("app"))
	if !strings.Contains(inits, "istio-proxy") {
		pod.Spec.Containers = append(pod.Spec.Containers, newContainer("istio-proxy"))
	}
	pod.Spec.Containers = append(pod.Spec.Containers, newContainer("vault-agent"))
	return pod
}

func newContainer(name string) corev1.Container {
	c := corev1.Container{Name: name}
	rules := []string{
		"istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "",
		"-b", "*", "-d", "15090,15021,15020", "--log_output_level=default:info",
	}
	switch name {
	case "istio-init":
		c.Args = rules
		c.SecurityContext = runAs(0, 0)
	case "istio-validation":
		c.Args = slices.Concat(rules, []string{"--run-validation", "--skip-rule-apply"})
		c.SecurityContext = runAs(1337, 1337)
	case "istio-proxy":
		c.Args = []string{"proxy", "sidecar"}
		c.SecurityContext = runAs(1337, 1337)
	case "vault-agent", "vault-agent-init":
		c.SecurityContext = runAs(100, 1000)
	}
	return c
}

func runAs(uid, gid int64) *corev1.SecurityContext {
	return &corev1.SecurityContext{RunAsUser: &uid, RunAsGroup: &gid}
}

func annotate(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations[key] = value }
}

func edit(name string, change func(*corev1.Container)) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				if list[i].Name == name {
					change(&list[i])
				}
			}
		}
	}
}

func all(changes ...func(*corev1.Pod)) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for _, change := range changes {
			change(pod)
		}
	}
}

// captureDNS is proxyMetadata as Istio renders it: environment of its containers.
func captureDNS(pod *corev1.Pod) {
	for _, name := range []string{"istio-init", "istio-validation", "istio-proxy"} {
		edit(name, func(c *corev1.Container) {
			c.Env = append(c.Env, corev1.EnvVar{Name: "ISTIO_META_DNS_CAPTURE", Value: "true"})
		})(pod)
	}
}

// play lets the user's containers and vault-agent-init connect to one destination.
func play(t *testing.T, rig *kernel.Rig, pod *corev1.Pod, dest kernel.Destination) []kernel.Result {
	t.Helper()
	results, err := rig.Play(t.Context(), pod, only(dest, "migrate", "vault-agent-init", "app"))
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func only(dest kernel.Destination, names ...string) func(string) []kernel.Destination {
	return func(container string) []kernel.Destination {
		if slices.Contains(names, container) {
			return []kernel.Destination{dest}
		}
		return nil
	}
}

// letters writes results as the truth table does.
func letters(results []kernel.Result) string {
	letter := map[kernel.Verdict]string{kernel.Direct: "D", kernel.Proxied: "P", kernel.Refused: "X"}
	var s []string
	for _, r := range results {
		s = append(s, r.Container+" "+letter[r.Verdict])
	}
	return strings.Join(s, ", ")
}

// newRig skips the test where pods cannot be played, except under CI, which must not miss it.
func newRig(t *testing.T) *kernel.Rig {
	t.Helper()
	if err := kernel.Root(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI plays pods: %v", err)
		}
		t.Skipf("cannot play pods: %v", err)
	}
	binaries, err := controlplane.Build(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	rig, err := kernel.New(t.Context(), binaries.PilotAgent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rig.Close(); err != nil {
			t.Error(err)
		}
	})
	return rig
}
