package vaultinjector_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/test/vaultinjector"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	without := func(change func(*corev1.Pod), annotations ...string) *corev1.Pod {
		pod := newPod(t, annotations...)
		change(pod)
		return pod
	}
	uid := func(uid int64) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: new(uid)}
		}
	}
	for _, test := range []struct {
		name      string
		injector  vaultinjector.Injector
		namespace string
		pod       *corev1.Pod
		want      string
	}{
		{name: "kube-system", namespace: "kube-system", pod: newPod(t), want: `cannot inject into system namespace "kube-system"`},
		{name: "kube-public", namespace: "kube-public", pod: newPod(t), want: `cannot inject into system namespace "kube-public"`},
		{name: "agent-inject", pod: newPod(t, "agent-inject", "yes"), want: `annotation vault.hashicorp.com/agent-inject: parse "yes" as a boolean: invalid syntax`},
		{name: "agent-init-first", pod: newPod(t, "agent-init-first", "si"), want: `annotation vault.hashicorp.com/agent-init-first: parse "si" as a boolean: invalid syntax`},
		{name: "agent-run-as-user", pod: newPod(t, "agent-run-as-user", "root"), want: `annotation vault.hashicorp.com/agent-run-as-user: parse "root" as a number: invalid syntax`},
		{
			name: "several values", pod: newPod(t, "agent-pre-populate", "x", "agent-run-as-group", "y"),
			want: "annotation vault.hashicorp.com/agent-pre-populate: parse \"x\" as a boolean: invalid syntax\n" +
				"annotation vault.hashicorp.com/agent-run-as-group: parse \"y\" as a number: invalid syntax",
		},
		{name: "no role", pod: newPod(t, "role", ""), want: "no role given: set annotation vault.hashicorp.com/role"},
		{name: "no auth path", pod: newPod(t, "auth-path", ""), want: "no auth path given"},
		{name: "no auth type", pod: newPod(t, "auth-type", ""), want: "no auth type given"},
		{name: "no address", pod: newPod(t, "service", ""), want: "no address of the secret store given"},
		{
			name: "token mounted by an init container only",
			pod:  without(func(pod *corev1.Pod) { pod.Spec.Containers[0].VolumeMounts = nil }),
			want: "no container mounts a service account token volume",
		},
		{
			name: "same user without a security context", pod: newPod(t, "agent-run-as-same-user", "true"),
			want: `annotation vault.hashicorp.com/agent-run-as-same-user: container "app" sets no runAsUser`,
		},
		{
			name: "same user without a uid but for the pod's",
			pod: without(func(pod *corev1.Pod) {
				pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(7))}
				pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{}
			}, "agent-run-as-same-user", "true"),
			want: `annotation vault.hashicorp.com/agent-run-as-same-user: container "app" sets no runAsUser`,
		},
		{
			name: "same user is root", pod: without(uid(0), "agent-run-as-same-user", "true"),
			want: `annotation vault.hashicorp.com/agent-run-as-same-user: container "app" runs as root`,
		},
		{
			name: "no containers", pod: without(func(pod *corev1.Pod) { pod.Spec.Containers = nil }, "agent-run-as-same-user", "true"),
			want: "annotation vault.hashicorp.com/agent-run-as-same-user: the pod has no containers\nno container mounts a service account token volume",
		},
		{
			name: "init patch that is none", pod: newPod(t, "agent-init-json-patch", "runAsUser: 1337"),
			want: "annotation vault.hashicorp.com/agent-init-json-patch: decode JSON patch: ",
		},
		{
			name: "init patch that does not fit", pod: newPod(t, "agent-init-json-patch", `[{"op":"remove","path":"/nothing"}]`),
			want: "annotation vault.hashicorp.com/agent-init-json-patch: apply JSON patch: ",
		},
		{
			name: "sidecar patch that breaks the container", pod: newPod(t, "agent-json-patch", `[{"op":"replace","path":"/name","value":{}}]`),
			want: "annotation vault.hashicorp.com/agent-json-patch: decode the container it made: ",
		},
		{name: "unknown product", injector: vaultinjector.Injector{Prefix: "example.com"}, pod: newPod(t), want: `annotation prefix "example.com" belongs to no known injector`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			namespace := test.namespace
			if namespace == "" {
				namespace = "shop"
			}
			operations, err := test.injector.Mutate(test.pod, namespace)
			if err == nil {
				t.Fatalf("got %d operations, want error %q", len(operations), test.want)
			}
			// A want that ends in a colon and a space leaves the rest to the library.
			if got := err.Error(); got != test.want && (!strings.HasSuffix(test.want, ": ") || !strings.HasPrefix(got, test.want)) {
				t.Errorf("error: got %q, want %q", got, test.want)
			}
		})
	}
}
