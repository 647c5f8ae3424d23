package integration

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"holdfast.dev/holdfast/test/holdfast"
)

// TestNameOrders proves that no pod is stuck, and that the answer is the same each time, wherever the names of the webhook
// configurations put Vault and Holdfast, and where Holdfast itself is not called again.
func TestNameOrders(t *testing.T) {
	s := shared
	s.namespace(t, "enforced", map[string]string{"holdfast.dev/mode": "enforce"})
	const usual = "vault-agent-injector-cfg"
	t.Cleanup(func() { s.renameVault(t, usual) })
	for _, m := range modes() {
		if m[0].Reinvoked && (m[0].Native || !m[0].CNI) {
			// Istio mends these itself: called again, it puts istio-init last, or its native sidecar first. Behind
			// istio-validation, which stays first, it has nothing to mend with.
			continue
		}
		t.Run(m[0].Mode(), func(t *testing.T) {
			s.istio(t, mode(m[0]))
			for _, c := range []struct {
				name, vault string
				edit        func([]*unstructured.Unstructured)
			}{
				{"Vault before Holdfast", "0-a-vault", nil},
				{"Vault between Holdfast and Istio", "1-vault", nil},
				{"Vault after Istio", usual, nil},
				{"Holdfast called once", usual, once},
				{"Holdfast last", usual, last},
				{"Holdfast last and called once", usual, func(o []*unstructured.Unstructured) { once(o); last(o) }},
			} {
				t.Run(c.name, func(t *testing.T) {
					s.renameVault(t, c.vault)
					s.install(t, holdfast.Options{Overlay: "opt-in", Edit: c.edit})
					for _, first := range []bool{false, true} {
						s.neverStuck(t, first)
					}
				})
			}
		})
	}
}

// neverStuck creates the pod three times: the same answer each time, and one with which Vault's container connects.
func (s *suite) neverStuck(t *testing.T, initFirst bool) {
	t.Helper()
	pod := s.admitted(t, web("enforced", initFirst))
	t.Logf("init-first %v: %s, applied %q", initFirst, order(pod), pod.Annotations["holdfast.dev/applied"])
	for range 2 {
		if again := s.admitted(t, web("enforced", initFirst)); order(again) != order(pod) || again.Annotations["holdfast.dev/applied"] != pod.Annotations["holdfast.dev/applied"] {
			t.Errorf("not stable: %s %q, then %s %q", order(pod), pod.Annotations["holdfast.dev/applied"], order(again), again.Annotations["holdfast.dev/applied"])
		}
	}
	if s.rig == nil {
		return
	}
	letters := s.kernel(t, pod)
	if letters[1] == 'X' {
		t.Errorf("init-first %v: got %s for migrate, vault-agent-init, app in %s: Vault's container is stuck", initFirst, letters, order(pod))
	}
	s.judge(t, pod, letters)
}

// renameVault registers the stand-in under another name, and under no other.
func (s *suite) renameVault(t *testing.T, name string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // cleanups call it too, when the test's own has ended
	client := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	all, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range all.Items {
		if c := &all.Items[i]; c.Name != name && len(c.Webhooks) == 1 && c.Webhooks[0].Name == "vault.hashicorp.com" {
			if err := client.Delete(ctx, c.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.registerVault(ctx, name); err != nil {
		t.Fatal(err)
	}
}

// once sets the reinvocation policy of Holdfast's mutating webhooks to Never.
func once(objects []*unstructured.Unstructured) {
	for _, o := range objects {
		if o.GetKind() != "MutatingWebhookConfiguration" {
			continue
		}
		entries, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
		for _, e := range entries {
			e.(map[string]any)["reinvocationPolicy"] = "Never"
		}
		_ = unstructured.SetNestedSlice(o.Object, entries, "webhooks")
	}
}

// last renames Holdfast's mutating configuration so that it sorts behind every injector's, and lets Holdfast write the CA into
// that name.
func last(objects []*unstructured.Unstructured) {
	for _, o := range objects {
		switch o.GetKind() {
		case "MutatingWebhookConfiguration":
			o.SetName("zzz-holdfast")
		case "ClusterRole":
			rules, _, _ := unstructured.NestedSlice(o.Object, "rules")
			for _, rule := range rules {
				names, _ := rule.(map[string]any)["resourceNames"].([]any)
				for i := range names {
					if names[i] == "0-holdfast" {
						names[i] = "zzz-holdfast"
					}
				}
			}
			_ = unstructured.SetNestedSlice(o.Object, rules, "rules")
		}
	}
}
