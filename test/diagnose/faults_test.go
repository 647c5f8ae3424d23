package diagnose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"holdfast.dev/holdfast/diagnose"
)

// fault is something that goes wrong, and what is said of it.
type fault struct {
	name string
	// does makes it go wrong.
	does func(t *testing.T, s *suite)
	// causes are those that the command names, and says is in the message of the first.
	causes []string
	says   string
	names  string // the probe that says it, where it is not the first
	// server are the causes that the server names itself, where they differ; asked tells whether it can be asked.
	server []string
	mute   bool
}

const (
	ourMutating   = "0-holdfast"
	ourValidating = "holdfast"
	ns            = "holdfast-system"
)

// TestFaults breaks one thing at a time, and mends it again by applying what was installed.
func TestFaults(t *testing.T) {
	s := shared
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			s.healthy(t)
			t.Cleanup(func() { s.mend(t) })
			f.does(t, s)
			r := settle(t, "holdfast diagnose", func(t *testing.T) *diagnose.Report { t.Helper(); return s.diagnose(t) }, f.causes...)
			code, _, _ := strings.Cut(f.causes[0], " ")
			if f.names != "" {
				code = f.names
			}
			l := line(r, code)
			if !strings.Contains(l.Message, f.says) {
				t.Errorf("%s: got %q, want %q in it", code, l.Message, f.says)
			}
			t.Logf("%s %s\n%s\n%s", l.Code, l.Name, l.Message, l.Fix)
			if r.Seconds > 15 {
				t.Errorf("it took %.1f s, want at most 15", r.Seconds)
			}
			if f.mute {
				return
			}
			want := f.server
			if want == nil {
				want = f.causes
			}
			settle(t, "/diagnosis", s.asked, want...)
		})
	}
}

// mend puts back what was installed.
func (s *suite) mend(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := s.certify(host, time.Now().Add(-time.Hour), time.Now().AddDate(0, 3, 0)); err != nil {
		t.Error(err)
	}
	if err := s.cluster.ApplyObjects(ctx, s.installation.Objects()); err != nil {
		t.Error(err)
	}
	if err := s.cluster.Expose(ctx, ns, s.installation.Service(), s.installation.Host().Addr(), map[string]int32{"https": 9443}); err != nil {
		t.Error(err)
	}
}

func (s *suite) patch(t *testing.T, mutating bool, patch string) {
	t.Helper()
	var err error
	configurations := s.client.AdmissionregistrationV1()
	if mutating {
		_, err = configurations.MutatingWebhookConfigurations().Patch(t.Context(), ourMutating, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	} else {
		_, err = configurations.ValidatingWebhookConfigurations().Patch(t.Context(), ourValidating, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func faults() []fault {
	return []fault{
		{name: "key of another pair", causes: []string{"HF202 failed"}, says: "does not match", does: func(t *testing.T, s *suite) {
			t.Helper()
			other, err := s.ca.issue(host, time.Now(), time.Now().AddDate(1, 0, 0))
			check(t, err)
			check(t, os.WriteFile(filepath.Join(s.certificates, "tls.key"), other.key, 0o600))
		}},
		{name: "certificate expired", causes: []string{"HF203 failed"}, says: "expired", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.certify(host, time.Now().AddDate(0, -3, 0), time.Now().Add(-26*time.Hour)))
		}},
		{name: "certificate not yet valid", causes: []string{"HF203 failed"}, says: "not valid before", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.certify(host, time.Now().Add(90*time.Minute), time.Now().AddDate(0, 3, 0)))
		}},
		{name: "certificate for another name", causes: []string{"HF203 failed"}, says: "is for other.elsewhere.svc, the API server calls holdfast.holdfast-system.svc", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.certify("other.elsewhere.svc", time.Now().Add(-time.Hour), time.Now().AddDate(0, 3, 0)))
		}},
		{name: "certificate expires soon", causes: []string{"HF203 warning"}, says: "in 3d", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.certify(host, time.Now().Add(-time.Hour), time.Now().Add(73*time.Hour)))
		}},
		{name: "CA bundle missing in one entry", causes: []string{"HF209 failed"}, says: "pods.validate.holdfast.dev has no caBundle", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, false, `[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`)
		}},
		{name: "CA bundle of another CA in one entry", causes: []string{"HF209 failed"}, says: "workloads.mutate.holdfast.dev has the caBundle of CN=another CA, the certificate is of CN=our CA", does: func(t *testing.T, s *suite) {
			t.Helper()
			other, err := newAuthority("another CA")
			check(t, err)
			s.patch(t, true, fmt.Sprintf(`[{"op":"replace","path":"/webhooks/1/clientConfig/caBundle","value":%q}]`, base64Of(other.bundle)))
		}},
		{name: "CA bundle of another CA in all entries", causes: []string{"HF209 failed"}, says: "all 10 entries", does: func(t *testing.T, s *suite) {
			t.Helper()
			other, err := newAuthority("another CA")
			check(t, err)
			for _, mutating := range []bool{true, false} {
				for i := range 5 {
					s.patch(t, mutating, fmt.Sprintf(`[{"op":"replace","path":"/webhooks/%d/clientConfig/caBundle","value":%q}]`, i, base64Of(other.bundle)))
				}
			}
		}},
		{name: "mutating webhook missing", causes: []string{"HF206 failed"}, says: "no mutating webhook configuration calls Service holdfast-system/holdfast", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(t.Context(), ourMutating, metav1.DeleteOptions{}))
		}},
		{name: "validating webhook missing", causes: []string{"HF206 failed"}, says: "no validating webhook configuration", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), ourValidating, metav1.DeleteOptions{}))
		}},
		{name: "webhook calls another Service", causes: []string{"HF206 failed"}, says: "5 of 5 entries of validatingwebhookconfiguration/holdfast call Service holdfast-system/other, which does not exist", does: func(t *testing.T, s *suite) {
			t.Helper()
			for i := range 5 {
				s.patch(t, false, fmt.Sprintf(`[{"op":"replace","path":"/webhooks/%d/clientConfig/service/name","value":"other"}]`, i))
			}
		}},
		{name: "path that is not ours", causes: []string{"HF207 failed"}, says: "calls path /validate, the server answers at /mutate", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, `[{"op":"replace","path":"/webhooks/0/clientConfig/service/path","value":"/validate"}]`)
		}},
		{name: "no entry for the probe", causes: []string{"HF207 warning", "HF215 unknown"}, says: "whether the API server reaches us cannot be tried", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, `[{"op":"remove","path":"/webhooks/4"}]`)
		}},
		{name: "selector leaves a namespace out", causes: []string{"HF208 failed"}, says: "leaves out namespace shop, which is labelled holdfast.dev/mode=enforce: kubernetes.io/metadata.name notin (shop)", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, false, `[{"op":"add","path":"/webhooks/0/namespaceSelector/matchExpressions/-","value":{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":["shop"]}}]`)
		}},
		{name: "selector wants another label on pods", causes: []string{"HF208 failed"}, says: "sees only pods with these labels: check=yes", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, `[{"op":"add","path":"/webhooks/0/objectSelector","value":{"matchLabels":{"check":"yes"}}}]`)
		}},
		{name: "Service missing", causes: []string{"HF210 failed"}, says: "does not exist", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.client.CoreV1().Services(ns).Delete(t.Context(), "holdfast", metav1.DeleteOptions{}))
		}},
		{name: "Service leads to another port", causes: []string{"HF210 failed"}, says: "leads to port 9444 of the pods, the server listens on 9443", does: func(t *testing.T, s *suite) {
			t.Helper()
			_, err := s.client.CoreV1().Services(ns).Patch(t.Context(), "holdfast", types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/ports/0/targetPort","value":9444}]`), metav1.PatchOptions{})
			check(t, err)
			check(t, s.cluster.Expose(t.Context(), ns, "holdfast", s.installation.Host().Addr(), map[string]int32{"https": 9444}))
		}},
		{name: "Service without the port", causes: []string{"HF210 failed"}, says: "calls port 8443, which Service holdfast-system/holdfast does not have", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, `[{"op":"replace","path":"/webhooks/0/clientConfig/service/port","value":8443}]`)
		}},
		{name: "no endpoints", causes: []string{"HF211 failed"}, says: "Deployment holdfast is scaled to 0", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.cluster.Unexpose(t.Context(), ns, "holdfast"))
		}},
		{name: "selector of the Service", causes: []string{"HF211 failed"}, says: "those of Deployment holdfast have other labels", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.cluster.Unexpose(t.Context(), ns, "holdfast"))
			_, err := s.client.CoreV1().Services(ns).Patch(t.Context(), "holdfast", types.MergePatchType, []byte(`{"spec":{"selector":{"app.kubernetes.io/component":"admission"}}}`), metav1.PatchOptions{})
			check(t, err)
		}},
		{name: "network policy", causes: []string{"HF212 warning"}, says: "NetworkPolicy deny lets nobody in at port 9443", does: func(t *testing.T, s *suite) {
			t.Helper()
			policies := s.client.NetworkingV1().NetworkPolicies(ns)
			_, err := policies.Create(t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny"}, Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}}}, metav1.CreateOptions{})
			check(t, err)
			t.Cleanup(func() { check(t, policies.Delete(context.WithoutCancel(t.Context()), "deny", metav1.DeleteOptions{})) })
		}},
		{name: "something else behind the Service", causes: []string{"HF214 failed"}, says: "198.18.", does: func(t *testing.T, s *suite) {
			t.Helper()
			other, err := newAuthority("another CA")
			check(t, err)
			serveTLS(t, s, other)
		}},
		{name: "a server that hangs", causes: []string{"HF214 failed"}, says: "accepts connections and answers no request: none within 2 s", does: func(t *testing.T, s *suite) {
			t.Helper()
			serveTLS(t, s, s.ca)
		}},
		{name: "fails closed where the cluster lives", causes: []string{"HF217 failed"}, says: "has failurePolicy Fail and sees namespace kube-system", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"},{"op":"remove","path":"/webhooks/0/namespaceSelector/matchExpressions/0"}]`)
			s.patch(t, false, `[{"op":"remove","path":"/webhooks/0/namespaceSelector/matchExpressions/0"}]`)
		}},
		{name: "another webhook is broken", causes: []string{"HF215 unknown"}, says: "another webhook keeps the probe's ConfigMap out", does: func(t *testing.T, s *suite) {
			t.Helper()
			url, fail, none := "https://127.0.0.1:1/", admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
			configurations := s.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
			_, err := configurations.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
				ObjectMeta: metav1.ObjectMeta{Name: "policy"},
				Webhooks: []admissionregistrationv1.ValidatingWebhook{{
					Name: "policy.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url}, FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns}},
					Rules: []admissionregistrationv1.RuleWithOperations{{
						Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
						Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
					}},
				}},
			}, metav1.CreateOptions{})
			check(t, err)
			t.Cleanup(func() {
				check(t, configurations.Delete(context.WithoutCancel(t.Context()), "policy", metav1.DeleteOptions{}))
			})
		}},
		{name: "firewall that drops", causes: []string{"HF215 failed"}, says: "the control plane gets no answer from port 9443, other pods do: a firewall", does: func(t *testing.T, s *suite) {
			t.Helper()
			firewall(t, s, "drop")
		}},
		{name: "firewall that rejects", causes: []string{"HF215 failed"}, says: "connection refused", does: func(t *testing.T, s *suite) {
			t.Helper()
			firewall(t, s, "reject with tcp reset")
		}},
		{
			name: "rights missing", causes: []string{"HF214 unknown", "HF218 failed"}, names: "HF218", says: "list endpointslices.discovery.k8s.io (diagnosis)",
			server: []string{"HF211 unknown", "HF214 unknown", "HF218 failed"}, does: func(t *testing.T, s *suite) {
				t.Helper()
				role, err := s.client.RbacV1().ClusterRoles().Get(t.Context(), "holdfast", metav1.GetOptions{})
				check(t, err)
				for i := range role.Rules {
					if len(role.Rules[i].Resources) > 0 && role.Rules[i].Resources[0] == "endpointslices" {
						role.Rules = append(role.Rules[:i], role.Rules[i+1:]...)
						break
					}
				}
				_, err = s.client.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{})
				check(t, err)
			},
		},
	}
}
