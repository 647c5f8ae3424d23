package controlplane

import (
	"context"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RegisterStale registers a copy of istiod's MutatingWebhookConfiguration, WebhookName()-stale, for a revision that nobody looks
// after, so that faults in it stay; change is called with each entry. What remove returns where the copy is already gone is an
// error that apierrors.IsNotFound knows.
func (i *Istiod) RegisterStale(ctx context.Context, change func(*admissionregistrationv1.MutatingWebhook)) (remove func(context.Context) error, err error) {
	const revision = "stale"
	configurations := i.cluster.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	c, err := configurations.Get(ctx, i.WebhookName(), metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("register a stale %s: %w", i.WebhookName(), err)
	}
	copied := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: withRevision(c.Name, revision), Labels: map[string]string{"app": "sidecar-injector", "istio.io/rev": revision}},
	}
	for k := range c.Webhooks {
		w := c.Webhooks[k].DeepCopy()
		// Entries of revisions alone have this name; the API server counts by names.
		if !strings.HasPrefix(w.Name, "rev.") {
			continue
		}
		w.Name = "stale-" + w.Name
		for _, selector := range []*metav1.LabelSelector{w.NamespaceSelector, w.ObjectSelector} {
			for e := range selector.MatchExpressions {
				if selector.MatchExpressions[e].Key == "istio.io/rev" && len(selector.MatchExpressions[e].Values) > 0 {
					selector.MatchExpressions[e].Values = []string{revision}
				}
			}
		}
		change(w)
		copied.Webhooks = append(copied.Webhooks, *w)
	}
	if _, err := configurations.Create(ctx, copied, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("register %s: %w", copied.Name, err)
	}
	return func(ctx context.Context) error {
		return configurations.Delete(ctx, copied.Name, metav1.DeleteOptions{})
	}, nil
}
