package diagnose

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/report"
)

func injectorPresent() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF231", Name: "injector-present", Severity: report.Error,
			Title: "what the configuration calls is installed",
			Why:   "A webhook configuration calls a Service that does not exist, or behind which nobody makes pods: a revision was removed and its configuration left behind, or a tag still leads to it. With failurePolicy Fail the pods that it selects are refused; with Ignore they start without what the injector adds, and nobody gets an error.",
			Fix:   "Delete the configuration that is left over, or lead the tag to a revision that is there (istioctl tag set TAG --revision REVISION --overwrite); else install what it calls.",
		},
		Needs: []string{apiServerCode},
		ask: func(ctx context.Context, s *Subject) Result {
			if s.About != nil {
				if n, ok := s.About.Value.(*neighbour); ok && n.resting {
					return n.rested()
				}
			}
			return aboutNeighbour(present)(ctx, s)
		},
	}
}

func present(ctx context.Context, s *Subject, n *neighbour) Result {
	var orphaned *Result
	for _, c := range n.callees() {
		if c.url != "" {
			continue
		}
		b, err := s.behind(ctx, c)
		switch {
		case err != nil:
			return cannot(err)
		case b.service == nil:
			return failed(n.leftOver(), "%s: %s calls %s, which does not exist: it is left over, or not installed yet; %s", n.who(), n.where(), c, n.loss())
		case abandoned(b):
			return failed(n.leftOver(), "%s: %s is there, but no Deployment makes pods for it and it has no endpoint: the rest was removed; %s", n.who(), c, n.loss())
		}
		if other := n.orphan(b); other != "" && orphaned == nil {
			r := warn(n.leftOver(), "%s: %s leads to revision %s, which does not look after this configuration: it is left over, and nobody renews its CA", n.who(), c, other)
			orphaned = &r
		}
	}
	if orphaned != nil {
		return *orphaned
	}
	return passed("%s; %s", n.who(), n.policy())
}

// abandoned tells that nothing makes pods for a Service. Injectors run as Deployments; a Service without a selector is fed by
// somebody else.
func abandoned(b *backing) bool {
	return len(b.service.Spec.Selector) > 0 && b.service.Spec.Type != corev1.ServiceTypeExternalName &&
		b.deployment == nil && b.unread == nil && len(b.ready)+len(b.waiting) == 0
}

// orphan returns the revision of the istiod that is called where the configuration is of another one: istiod puts its CA into
// configurations of its own revision alone (istio/istio, pkg/webhooks/webhookpatch.go at eed52ebb66ad).
func (n *neighbour) orphan(b *backing) string {
	if n.title != "Istio" || !n.entries[0].Mutating || b.deployment == nil {
		return ""
	}
	own, theirs := n.entries[0].Labels[istioRevision], b.deployment.Spec.Template.Labels[istioRevision]
	if own == "" || own == theirs {
		return ""
	}
	return theirs
}

// leftOver says what to do about a configuration of something that is gone.
func (n *neighbour) leftOver() string {
	remove := "kubectl delete " + n.where()
	switch {
	case n.tag != "":
		return "Lead the tag to a revision that is there: istioctl tag set " + n.tag + " --revision REVISION --overwrite; or remove it: istioctl tag remove " + n.tag
	case n.title == "Istio" && n.entries[0].Mutating:
		return "If that revision is gone for good: " + remove + "; namespaces that ask for it: kubectl get namespaces -L istio.io/rev,istio-injection"
	}
	return "If " + n.title + " is gone for good: " + remove + "; else install it again."
}

// rested judges a configuration that istioctl has put to rest for the tag default.
func (n *neighbour) rested() Result {
	if slices.ContainsFunc(n.all.list, func(o *neighbour) bool { return o.tag == "default" && !o.resting }) {
		return notApplicable("istioctl has put it to rest: the tag default takes its place")
	}
	if slices.ContainsFunc(n.all.list, func(o *neighbour) bool {
		return !o.resting && o.revision == "default" && strings.HasSuffix(o.entries[0].Name, istioInjects)
	}) {
		return notApplicable("istioctl has put it to rest, and another configuration takes its place")
	}
	return warn("Give the tag default to a revision that is there: istioctl tag set default --revision REVISION",
		"istioctl has put it to rest for the tag default, and that tag is gone: namespaces with istio-injection=enabled get no sidecar")
}
