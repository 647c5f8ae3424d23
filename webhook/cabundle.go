package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// operation is one operation of an RFC 6902 patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// SpreadCA puts the CA bundle into every entry that points to our Service and lacks it, and touches nothing else. Labels and
// names of configurations do not count: installations change them.
func (c *Cluster) SpreadCA(ctx context.Context, bundle []byte) error {
	var errs []error
	if !c.mutating.settled() || !c.validating.settled() {
		return nil // they are looked at again when they have been read
	}
	admission := c.client.AdmissionregistrationV1()
	patch := metav1.PatchOptions{FieldManager: Name}
	for _, m := range list[*admissionregistrationv1.MutatingWebhookConfiguration](c.mutating) {
		if ops := c.bundleOps(bundle, len(m.Webhooks), func(i int) (string, *admissionregistrationv1.WebhookClientConfig) {
			return m.Webhooks[i].Name, &m.Webhooks[i].ClientConfig
		}); ops != nil {
			_, err := admission.MutatingWebhookConfigurations().Patch(ctx, m.Name, types.JSONPatchType, ops, patch)
			errs = append(errs, explain("mutating", m.Name, err))
		}
	}
	for _, v := range list[*admissionregistrationv1.ValidatingWebhookConfiguration](c.validating) {
		if ops := c.bundleOps(bundle, len(v.Webhooks), func(i int) (string, *admissionregistrationv1.WebhookClientConfig) {
			return v.Webhooks[i].Name, &v.Webhooks[i].ClientConfig
		}); ops != nil {
			_, err := admission.ValidatingWebhookConfigurations().Patch(ctx, v.Name, types.JSONPatchType, ops, patch)
			errs = append(errs, explain("validating", v.Name, err))
		}
	}
	return errors.Join(errs...)
}

func explain(kind, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("put the CA into the %s webhook configuration %s: %w", kind, name, err)
}

// bundleOps returns the patch for one configuration, nil where nothing is missing. Each operation stands behind a test that
// the entry is still the one that was seen.
func (c *Cluster) bundleOps(bundle []byte, n int, entry func(int) (string, *admissionregistrationv1.WebhookClientConfig)) []byte {
	var ops []operation
	for i := range n {
		name, client := entry(i)
		if !c.callsOurService(client) || bytes.Equal(client.CABundle, bundle) {
			continue
		}
		at := "/webhooks/" + strconv.Itoa(i)
		ops = append(ops, operation{"test", at + "/name", name}, operation{"add", at + "/clientConfig/caBundle", slices.Clone(bundle)})
	}
	if ops == nil {
		return nil
	}
	out, err := json.Marshal(ops)
	if err != nil { // strings and bytes only: cannot happen
		return nil
	}
	return out
}
