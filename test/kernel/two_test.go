//go:build linux

package kernel_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/test/kernel"
)

// TestTwoMeshes plays pods that two meshes redirect: each has its rules there, and each proxy is exempt from its own
// alone. Where both proxies want the same port the one that starts later does not start.
func TestTwoMeshes(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	for _, tt := range []struct {
		modes []string
		want  string // Of migrate, agent, app, late.
		fails string
	}{
		{[]string{"consul", "linkerd"}, "DXXX", ""},
		{[]string{"istio", "linkerd"}, "DXXX", ""},
		{[]string{"istio, native", "linkerd, native"}, "XXXX", ""},
		{[]string{"istio, cni", "linkerd, native"}, "XXXX", ""},
		{[]string{"istio", "kuma"}, "DXXX", "istio-proxy"},
		{[]string{"istio, native", "kuma, native"}, "----", "istio-proxy"},
		// Both proxies are user 1337: the one that serves is exempt from the rules of both.
		{[]string{"appmesh", "istio"}, "DXXP", "istio-proxy"},
		{[]string{"consul, cni", "kuma"}, "XXXX", "consul-dataplane"},
	} {
		t.Run(tt.modes[0]+" and "+tt.modes[1], func(t *testing.T) {
			t.Parallel()
			pod := plainPod()
			for _, want := range tt.modes {
				for _, mode := range kernel.Modes() {
					if mode.String() == want {
						pod = mode.Inject(pod, kernel.Exempt{})
					}
				}
			}
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: "agent", SecurityContext: runAs(100, 1000)})
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "late"})
			results, err := rig.Play(t.Context(), pod, only(vault, "migrate", "agent", "app", "late"))
			fails := ""
			if exit := (*kernel.ExitError)(nil); errors.As(err, &exit) {
				fails = exit.Container
			} else if err != nil {
				t.Fatal(err)
			}
			if got := verdicts(t, results, "migrate", "agent", "app", "late"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if fails != tt.fails {
				t.Errorf("got failing container %q, want %q", fails, tt.fails)
			}
		})
	}
}
