package diagnose

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/report"
)

func injectorEndpoints() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF234", Name: "injector-endpoints", Severity: report.Error,
			Title: "ready pods stand behind its Service",
			Why:   "The injector's Service has no ready endpoint: its pods are gone, do not start, or have other labels than the Service selects. The API server says \"no endpoints available for service\".",
			Fix:   "Look at the injector's pods, and at what keeps them from being ready. Where its own namespace is injected, its pods may be waiting for themselves.",
		},
		Needs: []string{"HF233"},
		ask:   aboutNeighbour(readyPods),
	}
}

func readyPods(ctx context.Context, s *Subject, n *neighbour) Result {
	var ready []string
	outside := "it is called by URL"
	for _, c := range n.callees() {
		if c.url != "" {
			continue
		}
		b, err := s.behind(ctx, c)
		switch {
		case err != nil:
			return cannot(err)
		case b.unread != nil:
			return cannot(b.unread)
		case b.service != nil && b.service.Spec.Type == corev1.ServiceTypeExternalName:
			outside = c.String() + " is a name outside of the cluster"
			continue
		case len(b.ready) == 0:
			why, fix := s.noneReady(ctx, b, c)
			if other := n.before(c, nil); other != nil {
				fix = other.again("HF234")
			}
			return failed(fix, "%s (%s) has no ready endpoint: %s", c, n.title, why)
		}
		ready = append(ready, b.ready...)
	}
	if len(ready) == 0 {
		return notApplicable("%s", outside)
	}
	return passed("%s", list(unique(ready)))
}

// noneReady says why no pod is ready, and what to do about it.
func (s *Subject) noneReady(ctx context.Context, b *backing, c callee) (why, fix string) {
	d, of := b.deployment, "kubectl -n "+c.namespace
	if b.unlisted != nil {
		r := cannot(b.unlisted)
		return r.Message, steps(r.Fix, "Look at what should make its pods, and at them:", of+" get deployments,pods -o wide")
	}
	if d == nil {
		return "no Deployment in the namespace has pods with the labels that it selects", steps("Compare the labels of the pods with the selector of the Service, "+
			labels.FormatLabels(b.service.Spec.Selector)+":", of+" get pods --show-labels", kept(b.service.Labels, b.service.Annotations))
	}
	its := kept(d.Labels, d.Annotations)
	switch {
	case d.Spec.Replicas != nil && *d.Spec.Replicas == 0:
		return "Deployment " + d.Name + " is scaled to 0", steps("Scale it up, unless somebody has switched it off on purpose (two, so that one may be missing):", of+" scale deploy/"+d.Name+" --replicas=2", its)
	case len(b.waiting) == 0 && d.Status.Replicas == 0:
		return "Deployment " + d.Name + " has no pods", steps("Its events say what keeps the pods from being made:",
			of+" get events --field-selector reason=FailedCreate", of+" describe deploy/"+d.Name,
			"If a webhook refuses them, and it is this injector's own, it waits for itself. Have its webhook leave its own namespace alone.", its)
	}
	h := s.health(ctx, b, c)
	why = "the pods of Deployment " + d.Name + " are not ready"
	if h.ill != "" {
		why = h.ill
	}
	return why, steps(h.fix(b, c), its)
}
