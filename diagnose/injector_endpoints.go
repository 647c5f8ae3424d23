package diagnose

import (
	"context"

	corev1 "k8s.io/api/core/v1"

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
			why, fix := b.noneReady(c)
			return failed(fix, "%s (%s) has no ready endpoint: %s; %s", c, n.title, why, n.loss())
		}
		ready = append(ready, b.ready...)
	}
	if len(ready) == 0 {
		return notApplicable("%s", outside)
	}
	return passed("%s", list(unique(ready)))
}

func (b *backing) noneReady(c callee) (why, fix string) {
	d := b.deployment
	if d == nil {
		return "no Deployment in the namespace has pods with the labels that it selects", "kubectl -n " + c.namespace + " get pods,endpointslices -o wide --show-labels"
	}
	of := "kubectl -n " + c.namespace
	switch {
	case d.Spec.Replicas != nil && *d.Spec.Replicas == 0:
		return "Deployment " + d.Name + " is scaled to 0", of + " scale deploy/" + d.Name + " --replicas=2"
	case len(b.waiting) > 0:
		return "the pods of Deployment " + d.Name + " are not ready", of + " describe deploy/" + d.Name + "; " + of + " logs deploy/" + d.Name + " --tail=50"
	}
	return "Deployment " + d.Name + " has no pods", of + " describe deploy/" + d.Name + "; " + of + " get events --field-selector reason=FailedCreate"
}
