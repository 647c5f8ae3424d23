//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/test/kernel"
)

// TestResults is what a play says besides its verdicts.
func TestResults(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	pod := newPod("istio-validation, migrate, vault-agent-init")
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1000)), RunAsGroup: new(int64(2000))}
	got := play(t, rig, pod, vault)
	for i := range got {
		if !errors.Is(got[i].Err, syscall.ECONNREFUSED) {
			t.Errorf("container %q: got error %v, want %v", got[i].Container, got[i].Err, syscall.ECONNREFUSED)
		}
		got[i].Err = nil
	}
	want := []kernel.Result{
		{Container: "migrate", Dest: vault, UID: 1000, GID: 2000},
		{Container: "vault-agent-init", Dest: vault, UID: 100, GID: 1000},
		{Container: "app", Dest: vault, UID: 1000, GID: 2000},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

// TestPlain is a pod that no mesh touched.
func TestPlain(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	pod := newPod("migrate")
	pod.Annotations = nil
	if got, want := letters(play(t, rig, pod, vault)), "migrate D, app D"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestTransparentProxy has a proxy that only its group exempts: TPROXY needs user 0.
func TestTransparentProxy(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	for inits, want := range map[string]string{
		"istio-init, istio-proxy, migrate, vault-agent-init":       "migrate P, vault-agent-init P, app P",
		"vault-agent-init, istio-validation, istio-proxy, migrate": "vault-agent-init X, migrate P, app P",
	} {
		t.Run(inits, func(t *testing.T) {
			t.Parallel()
			pod := newPod(inits)
			annotate("sidecar.istio.io/interceptionMode", "TPROXY")(pod)
			edit("istio-proxy", func(c *corev1.Container) { c.SecurityContext = runAs(0, 1337) })(pod)
			edit("istio-init", func(c *corev1.Container) { c.Args[slices.Index(c.Args, "-m")+1] = "TPROXY" })(pod)
			got := play(t, rig, pod, vault)
			if diff := cmp.Diff(want, letters(got)); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s%v", diff, got)
			}
		})
	}
}

// TestForeignProxy is a proxy that does not run as the user whom the rules exempt: its own connections come back to it.
func TestForeignProxy(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	pod := newPod("istio-init, istio-proxy, migrate")
	edit("istio-proxy", func(c *corev1.Container) { c.SecurityContext = runAs(1338, 1338) })(pod)
	if got, want := letters(play(t, rig, pod, vault)), "migrate X, app X"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestExit is a container of Istio's that fails, and takes the turns of those after it.
func TestExit(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	for _, tt := range []struct {
		name  string
		inits string
		apply func(*corev1.Pod)
		want  kernel.ExitError
		turns string
	}{
		{
			"the node plugin skips a pod without status, its validation notices",
			"migrate, istio-validation, vault-agent-init",
			func(pod *corev1.Pod) {
				delete(pod.Annotations, "sidecar.istio.io/status")
				edit("istio-validation", func(c *corev1.Container) {
					c.Args = append(c.Args, "--probe-timeout=200ms")
				})(pod)
			},
			kernel.ExitError{Container: "istio-validation", Code: 126},
			"migrate D",
		},
		{
			"an address that is no range, rendered into istio-init",
			"migrate, istio-init, vault-agent-init",
			edit("istio-init", func(c *corev1.Container) { c.Args[slices.Index(c.Args, "-x")+1] = "10.96.7.7" }),
			kernel.ExitError{Container: "istio-init", Code: 1},
			"migrate D",
		},
		{
			"an address that is no range, read by the node plugin",
			"migrate, istio-validation, vault-agent-init",
			annotate("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.96.7.7"),
			kernel.ExitError{Container: "sandbox", Code: 1},
			"",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pod := newPod(tt.inits)
			tt.apply(pod)
			results, err := rig.Play(t.Context(), pod, only(vault, "migrate", "vault-agent-init", "app"))
			var exit *kernel.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("got error %v, want an exit code", err)
			}
			if exit.Output == "" {
				t.Error("got no output")
			}
			exit.Output = ""
			if diff := cmp.Diff(tt.want, *exit); diff != "" {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
			if got := letters(results); got != tt.turns {
				t.Errorf("got turns %q, want %q", got, tt.turns)
			}
		})
	}
}

// TestUnplayable is what a play refuses before it begins.
func TestUnplayable(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	for _, tt := range []struct {
		name string
		pod  *corev1.Pod
		dest kernel.Destination
		want string
	}{
		{"host network", &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: true}}, vault, "hostNetwork"},
		{"IPv6", newPod("migrate"), to("[fd00::1]:8200"), "not an IPv4 address"},
		{"loopback", newPod("migrate"), to("127.0.0.1:8200"), "not an address outside the pod"},
		{"link", newPod("migrate"), to("192.0.2.9:8200"), "joins the namespaces"},
		{"no port", newPod("migrate"), to("10.96.7.7:0"), "no port"},
		{"lost sidecar", lostSidecar(), vault, "no restartPolicy Always"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := rig.Play(t.Context(), tt.pod, only(tt.dest, "migrate"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := rig.Play(ctx, newPod("istio-init, migrate"), only(vault)); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want %v", err, context.Canceled)
		}
	})
}

// TestLeavesNothing looks for threads and descriptors in other network namespaces. It does not run in parallel: a
// sequential test ends before the parallel ones go on.
func TestLeavesNothing(t *testing.T) { //nolint:paralleltest // See above.
	rig := newRig(t)
	for range 3 {
		play(t, rig, newPod("istio-init, istio-proxy, migrate"), vault)
	}
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var strays []string
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 500 { // The kernel takes its time with threads that ended.
		if strays = elsewhere(home); len(strays) == 0 {
			return
		}
		<-tick.C
	}
	t.Errorf("got %v, want nothing outside %s", strays, home)
}

// elsewhere lists what of this process is in a network namespace other than home.
func elsewhere(home string) []string {
	var strays []string
	for _, pattern := range []string{"/proc/self/task/*/ns/net", "/proc/self/fd/*"} {
		links, _ := filepath.Glob(pattern) // The patterns are good.
		for _, link := range links {
			target, err := os.Readlink(link)
			if err == nil && strings.HasPrefix(target, "net:") && target != home {
				strays = append(strays, link)
			}
		}
	}
	return strays
}

func to(addrPort string) kernel.Destination {
	a := netip.MustParseAddrPort(addrPort)
	return kernel.Destination{Addr: a.Addr(), Port: a.Port()}
}

func lostSidecar() *corev1.Pod {
	pod := newPod("istio-init, istio-proxy, migrate")
	edit("istio-proxy", func(c *corev1.Container) { c.RestartPolicy = nil })(pod)
	return pod
}
