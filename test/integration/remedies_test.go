package integration

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/kernel"
	"holdfast.dev/holdfast/test/truth"
	"holdfast.dev/holdfast/test/vaultinjector"
)

// TestDeadDNS proves that captured DNS refuses a pod whose address is open and whose name is not, and that the proxy's group
// frees both.
func TestDeadDNS(t *testing.T) {
	s := shared
	o := mode(truth.Table()[4])
	o.MeshConfig = map[string]any{"defaultConfig": map[string]any{"proxyMetadata": map[string]any{"ISTIO_META_DNS_CAPTURE": "true"}}}
	s.istio(t, o)
	s.namespace(t, "enforced", map[string]string{config.ModeLabel: "enforce"})

	t.Run("refused", func(t *testing.T) {
		s.holdfast(t, "")
		pod := web("enforced", false)
		_, err := s.dryRun(t.Context(), pod)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "HF101") && !strings.Contains(err.Error(), "HF106") {
			t.Errorf("got %v, want a refusal", err)
		}
		pod.Annotations["traffic.sidecar.istio.io/excludeOutboundIPRanges"] = "10.96.7.7/32"
		if _, err := s.dryRun(t.Context(), pod); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "HF106") {
			t.Errorf("address exempt by the user: got %v, want HF106", err)
		}
	})
	t.Run("exempt-identity", func(t *testing.T) {
		s.holdfast(t, "remedies: {exempt-identity: true}")
		pod := s.admitted(t, web("enforced", false))
		if got, want := pod.Annotations[mutators.AppliedAnnotation], "hold,exempt-identity"; got != want {
			t.Errorf("remedies: got %q, want %q", got, want)
		}
		if s.rig == nil {
			return
		}
		to := []kernel.Destination{{Addr: vaultAddress, Port: 8200}, kernel.Nameserver()}
		for _, r := range s.play(t, pod, to...) {
			if r.Container == "vault-agent-init" && r.Verdict != kernel.Direct {
				t.Errorf("vault-agent-init to %s: got %s, want direct", r.Dest, r.Verdict)
			}
		}
	})
}

// TestExemptPort proves the last resort: a store outside the cluster, at a name whose addresses nobody knows.
func TestExemptPort(t *testing.T) {
	s := shared
	s.istio(t, mode(truth.Table()[4]))
	s.namespace(t, "enforced", map[string]string{config.ModeLabel: "enforce"})
	outside := func() *corev1.Pod {
		pod := web("enforced", false)
		pod.Annotations["vault.hashicorp.com/service"] = "https://vault.example.com:8200"
		return pod
	}
	t.Run("refused", func(t *testing.T) {
		s.holdfast(t, "")
		if _, err := s.dryRun(t.Context(), outside()); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `excludeOutboundPorts: "8200"`) {
			t.Errorf("got %v, want a refusal with the annotation to paste", err)
		}
	})
	for remedy, configuration := range map[string]string{
		config.ExemptPort:    "remedies: {exempt-port: true}",
		config.ExemptAddress: "dialers: [{injector: vault, cidrs: [203.0.113.0/24]}]",
	} {
		t.Run(remedy, func(t *testing.T) {
			s.holdfast(t, configuration)
			pod := s.admitted(t, outside())
			if got, want := pod.Annotations[mutators.AppliedAnnotation], "hold,"+remedy; got != want {
				t.Errorf("remedies: got %q, want %q", got, want)
			}
			if s.rig == nil {
				return
			}
			to := kernel.Destination{Addr: netip.MustParseAddr("203.0.113.9"), Port: 8200}
			for _, r := range s.play(t, pod, to) {
				if r.Container == "vault-agent-init" && r.Verdict != kernel.Direct {
					t.Errorf("vault-agent-init: got %s, want direct", r.Verdict)
				}
			}
		})
	}
}

// TestDeclared proves that an init container of the user's own is put right once the user says where it connects.
func TestDeclared(t *testing.T) {
	s := shared
	s.istio(t, mode(truth.Table()[4]))
	s.holdfast(t, "")
	s.namespace(t, "enforced", map[string]string{config.ModeLabel: "enforce"})
	pod := web("enforced", false)
	pod.Annotations["holdfast.dev/init-network"] = "migrate=203.0.113.4:5432"
	out := s.admitted(t, pod)
	if got, want := out.Annotations["traffic.sidecar.istio.io/excludeOutboundIPRanges"], "10.96.7.7/32,203.0.113.4/32"; got != want {
		t.Errorf("exempt: got %q, want %q", got, want)
	}
	if s.rig == nil {
		return
	}
	for _, r := range s.play(t, out, kernel.Destination{Addr: netip.MustParseAddr("203.0.113.4"), Port: 5432}) {
		if r.Container == "migrate" && r.Verdict != kernel.Direct {
			t.Errorf("migrate: got %s, want direct", r.Verdict)
		}
	}
}

// TestRestoreSidecar proves that a native sidecar gets its restartPolicy back from which an outdated webhook took it.
func TestRestoreSidecar(t *testing.T) {
	s := shared
	s.istio(t, mode(truth.Table()[8]))
	s.stripper(t)
	s.namespace(t, "plain", nil)
	s.namespace(t, "enforced", map[string]string{config.ModeLabel: "enforce"})
	if _, err := s.dryRun(t.Context(), web("plain", false)); !apierrors.IsInvalid(err) {
		t.Fatalf("without Holdfast: got %v, want the API server to find the pod invalid", err)
	}
	t.Run("restored", func(t *testing.T) {
		s.holdfast(t, "")
		pod := s.admitted(t, web("enforced", false))
		if got, want := order(pod), truth.Table()[8].Order; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("refused with the cause where it may not be", func(t *testing.T) {
		s.holdfast(t, "remedies: {restore-sidecar: false}")
		if _, err := s.dryRun(t.Context(), web("enforced", false)); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "HF104") {
			t.Errorf("got %v, want HF104", err)
		}
	})
}

// stripper registers a webhook, called after Istio's, that drops what an old Kubernetes API did not know.
func (s *suite) stripper(t *testing.T) {
	t.Helper()
	certificate, err := vaultinjector.NewCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(strip))
	server.Listener.Close()
	server.Listener = listener
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.Pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	none := admissionregistrationv1.SideEffectClassNone
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "outdated"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "outdated.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none,
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: new("https://" + listener.Addr().String()), CABundle: certificate.CABundle},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"istio-injection": "enabled"}},
		}},
	}
	client := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := client.Create(t.Context(), configuration, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Delete(context.WithoutCancel(t.Context()), configuration.Name, metav1.DeleteOptions{})
	})
	s.until(t, "the API server to call the outdated webhook", func(ctx context.Context) bool {
		_, err := s.dryRun(ctx, web("plain", false))
		return err != nil
	})
}

func strip(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	var pod corev1.Pod
	if json.NewDecoder(r.Body).Decode(&review) != nil || json.Unmarshal(review.Request.Object.Raw, &pod) != nil {
		http.Error(w, "not a review of a pod", http.StatusBadRequest)
		return
	}
	var operations []map[string]any
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].RestartPolicy != nil {
			operations = append(operations, map[string]any{"op": "remove", "path": "/spec/initContainers/" + string(rune('0'+i)) + "/restartPolicy"})
		}
	}
	response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if len(operations) > 0 {
		response.Patch, _ = json.Marshal(operations)
		response.PatchType = ptr.To(admissionv1.PatchTypeJSONPatch)
	}
	review.Request, review.Response = nil, response
	_ = json.NewEncoder(w).Encode(review)
}

func (s *suite) play(t *testing.T, pod *corev1.Pod, to ...kernel.Destination) []kernel.Result {
	t.Helper()
	results, err := s.rig.Play(t.Context(), pod, func(string) []kernel.Destination { return to })
	if err != nil {
		t.Fatal(err)
	}
	return results
}
