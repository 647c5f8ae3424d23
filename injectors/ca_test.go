package injectors_test

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/injectors"
)

// TestCA: what keeps the CA of an injector is named in full, or not at all.
func TestCA(t *testing.T) {
	t.Parallel()
	known := 0
	for _, i := range injectors.Builtin() {
		ca := i.CA
		if ca != (injectors.CA{}) {
			known++
		}
		if object := ca.ConfigMap + ca.Secret; (object == "") != (ca.Key == "") || ca.ConfigMap != "" && ca.Secret != "" {
			t.Errorf("%s: got ConfigMap %q, Secret %q, key %q, want one of the two and its key, or none", i.Name, ca.ConfigMap, ca.Secret, ca.Key)
		}
		if _, err := labels.Parse(ca.Keeper); err != nil {
			t.Errorf("%s: keeper: %v", i.Name, err)
		}
	}
	if known == 0 {
		t.Error("nothing is known of any CA")
	}
	for _, i := range []*injectors.Injector{injectors.Istio(), injectors.Vault(), injectors.OpenBao()} { // these put it in themselves
		if !slices.Contains(i.Reads.Deployments, i.CA.Keeper) {
			t.Errorf("%s: got keeper %q, want one of its own Deployments %q", i.Name, i.CA.Keeper, i.Reads.Deployments)
		}
	}
}
