package integration

import (
	"context"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/holdfast"
	"holdfast.dev/holdfast/test/truth"
)

// TestInstallations proves that both overlays work, as shipped and under another namespace and name prefix, and what each
// sees of a namespace without a label.
func TestInstallations(t *testing.T) {
	s := shared
	s.istio(t, mode(truth.Table()[0]))
	s.namespace(t, "plain", nil)
	s.namespace(t, "enforced", map[string]string{config.ModeLabel: "enforce"})
	s.namespace(t, "switched-off", map[string]string{config.ModeLabel: "off"})
	for _, c := range []struct {
		overlay, namespace, prefix, defaults string
		enforced, unlabelled                 string // remedies on a pod in a namespace with the label, and without
	}{
		{overlay: "opt-in", enforced: "hold,reorder"},
		{overlay: "cluster-wide", enforced: "hold,reorder"},
		{overlay: "cluster-wide", defaults: "defaultMode: enforce", enforced: "hold,reorder", unlabelled: "hold,reorder"},
		{overlay: "opt-in", namespace: "elsewhere", prefix: "a-", enforced: "hold,reorder"},
		// A prefix that sorts behind the mesh's name: hold comes too late, the rest still works.
		{overlay: "cluster-wide", namespace: "elsewhere", prefix: "x-", enforced: "reorder"},
	} {
		t.Run(c.overlay+" "+c.prefix+c.defaults, func(t *testing.T) {
			s.install(t, holdfast.Options{Overlay: c.overlay, Namespace: c.namespace, Prefix: c.prefix, Config: c.defaults})
			for namespace, want := range map[string]string{"enforced": c.enforced, "switched-off": "", "plain": c.unlabelled} {
				pod := s.admitted(t, web(namespace, false))
				if got := pod.Annotations[mutators.AppliedAnnotation]; got != want {
					t.Errorf("%s: remedies: got %q, want %q (%s)", namespace, got, want, order(pod))
				}
			}
		})
	}
}

// TestAuditServer proves that --audit turns the whole server to audit.
func TestAuditServer(t *testing.T) {
	s := shared
	s.istio(t, mode(truth.Table()[0]))
	s.namespace(t, "enforced", map[string]string{config.ModeLabel: "enforce"})
	s.install(t, holdfast.Options{Overlay: "opt-in", Args: []string{"--audit"}})
	if pod := s.admitted(t, web("enforced", false)); order(pod) != truth.Table()[0].Order || pod.Annotations[mutators.AppliedAnnotation] != "" {
		t.Errorf("got %s, applied %q: want the pod as it would have been", order(pod), pod.Annotations[mutators.AppliedAnnotation])
	}
}

// TestByURL proves that Holdfast works where the API server calls it by URL, with a certificate that it is given.
func TestByURL(t *testing.T) {
	s := shared
	row := truth.Table()[0]
	s.istio(t, mode(row))
	s.namespace(t, "plain", nil)
	s.namespace(t, "enforced", map[string]string{config.ModeLabel: config.Enforce.String()})
	s.install(t, holdfast.Options{Overlay: "opt-in", URLs: true})
	s.onlyURLs(t)
	s.judge(t, s.admitted(t, web("plain", false)), row.Verdicts())
	pod := s.admitted(t, web("enforced", false))
	if got := pod.Annotations[mutators.AppliedAnnotation]; got != wanted(row) {
		t.Errorf("remedies: got %q, want %q (%s)", got, wanted(row), order(pod))
	}
	s.judge(t, pod, "DDP")
	if s.rig != nil {
		s.judge(t, pod, s.kernel(t, pod))
	}
}

// onlyURLs proves that the API server finds every webhook of Holdfast by URL.
func (s *suite) onlyURLs(t *testing.T) {
	t.Helper()
	mutating, err := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "0-holdfast", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	validating, err := s.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "holdfast", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string]admissionregistrationv1.WebhookClientConfig{}
	for i := range mutating.Webhooks {
		clients[mutating.Webhooks[i].Name] = mutating.Webhooks[i].ClientConfig
	}
	for i := range validating.Webhooks {
		clients[validating.Webhooks[i].Name] = validating.Webhooks[i].ClientConfig
	}
	for name, c := range clients {
		if c.Service != nil || c.URL == nil || !strings.HasPrefix(*c.URL, "https://127.0.0.1:") {
			t.Errorf("%s: got %+v, want a URL on loopback", name, c)
		}
	}
}

// TestNativeAuto proves that the kubelets' versions decide where the mesh leaves it to them: one old node flips new pods from
// native sidecars to classic ones, and Holdfast follows.
func TestNativeAuto(t *testing.T) {
	s := shared
	if err := s.cluster.AddNode(t.Context(), "new", "v1.33.1"); err != nil {
		t.Fatal(err)
	}
	nodes := s.client.CoreV1().Nodes()
	t.Cleanup(func() {
		_ = nodes.DeleteCollection(context.WithoutCancel(t.Context()), metav1.DeleteOptions{}, metav1.ListOptions{})
	})
	o := mode(truth.Table()[0])
	o.Native = "auto"
	s.istio(t, o)
	s.holdfast(t, "")
	s.namespace(t, "enforced", map[string]string{config.ModeLabel: "enforce"})
	if pod := s.admitted(t, web("enforced", false)); pod.Annotations[mutators.AppliedAnnotation] != "" {
		t.Errorf("new kubelets: applied %q to %s, want nothing", pod.Annotations[mutators.AppliedAnnotation], order(pod))
	}
	if err := s.cluster.AddNode(t.Context(), "old", "v1.32.4"); err != nil {
		t.Fatal(err)
	}
	var pod *corev1.Pod
	s.until(t, "istiod and Holdfast to see the old kubelet", func(ctx context.Context) bool {
		var err error
		pod, err = s.dryRun(ctx, web("enforced", false))
		return err == nil && pod.Annotations[mutators.AppliedAnnotation] == "hold,reorder"
	})
	if got, want := order(pod), "migrate, vault-agent-init, istio-init"; got != want {
		t.Errorf("one old kubelet: got %s, want %s", got, want)
	}
}
