package manifests

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWebhooks: what is printed one by one is what kustomize makes of the whole.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		layer        string
		installation Installation
	}{
		"cluster-wide": {"resources: [../manifests/overlays/cluster-wide]\n", Installation{}},
		"opt-in":       {"resources: [../manifests/overlays/opt-in]\n", Installation{OptIn: true}},
		"a suffix":     {"resources: [../manifests/overlays/opt-in]\nnameSuffix: -blue\n", Installation{OptIn: true, Service: "holdfast-blue"}},
		"a prefix":     {"resources: [../manifests/overlays/opt-in]\nnamespace: other\nnamePrefix: x-\n", Installation{OptIn: true, Namespace: "other", Service: "x-holdfast"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := render(t, "layer", map[string]string{"layer": c.layer})
			m, v, err := Webhooks(c.installation)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(one[admissionregistrationv1.MutatingWebhookConfiguration](t, objects, "MutatingWebhookConfiguration"), *m); diff != "" {
				t.Errorf("mutating (-kustomize +ours):\n%s", diff)
			}
			if diff := cmp.Diff(one[admissionregistrationv1.ValidatingWebhookConfiguration](t, objects, "ValidatingWebhookConfiguration"), *v); diff != "" {
				t.Errorf("validating (-kustomize +ours):\n%s", diff)
			}
		})
	}
}

// TestWebhooksOf: what differs from one installation to the next is in every entry but the probe's.
func TestWebhooksOf(t *testing.T) {
	t.Parallel()
	m, v, err := Webhooks(Installation{
		CABundle: []byte("ca"), InjectFrom: "a/b", Mutating: admissionregistrationv1.Fail,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []metav1.ObjectMeta{m.ObjectMeta, v.ObjectMeta} {
		if o.Annotations["cert-manager.io/inject-ca-from"] != "a/b" {
			t.Errorf("%s: got annotations %v", o.Name, o.Annotations)
		}
	}
	for _, w := range m.Webhooks {
		if string(w.ClientConfig.CABundle) != "ca" || *w.FailurePolicy != admissionregistrationv1.Fail {
			t.Errorf("%s: got caBundle %q, failurePolicy %s", w.Name, w.ClientConfig.CABundle, *w.FailurePolicy)
		}
	}
}
