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
			Fix:   "Move the namespaces that ask for it to a revision that is there, keep a copy of the configuration and delete it; lead a tag to another revision; or install what it calls.",
		},
		Needs: []string{apiServerCode},
		ask: func(ctx context.Context, s *Subject) Result {
			if s.About != nil {
				if n, ok := s.About.Value.(*neighbour); ok && n.resting {
					return n.rested(ctx, s)
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
			return s.exposed(ctx, n, c)
		case abandoned(b):
			return failed(s.leftOver(ctx, n), "%s: %s calls %s, but no Deployment makes pods for it and it has no endpoint; %s", n.who(), n.where(), c, s.askedFor(ctx, n))
		}
		if other := n.orphan(b); other != "" && orphaned == nil {
			r := warn(s.orphaned(ctx, n, other), "%s: %s leads to revision %s, which does not look after this configuration: nobody renews its CA; %s",
				n.who(), c, other, s.askedFor(ctx, n)).meaning("By itself that breaks nothing: HF235 and HF236 tell whether the CA in it still fits.")
			orphaned = &r
		}
	}
	if orphaned != nil {
		return *orphaned
	}
	return passed("%s; %s: without an answer %s", n.who(), n.policy(), n.fate())
}

// exposed judges a configuration whose Service is gone.
func (s *Subject) exposed(ctx context.Context, n *neighbour, c callee) Result {
	d, err := s.without(ctx, n, c)
	switch {
	case err != nil:
		return failed(steps("See whether its Deployment is still there:", "kubectl -n "+c.namespace+" get deployments,services",
			"If it is, its installer makes the Service again. If it is gone for good, delete the configuration, with a copy kept in this directory:", n.remove(), n.kept()),
			"%s: %s calls %s, which does not exist; whether its Deployment does cannot be read here", n.who(), n.where(), c)
	case d != nil:
		return failed(n.exposeAgain(c, d), "%s: %s calls %s, which does not exist, though Deployment %s still does", n.who(), n.where(), c, d.Name)
	}
	return failed(s.leftOver(ctx, n), "%s: %s calls %s, which does not exist; %s", n.who(), n.where(), c, s.askedFor(ctx, n))
}

// abandoned tells that nothing makes pods for a Service, which has to be known: such a configuration is deleted. Injectors run as
// Deployments; a Service without a selector is fed by somebody else.
func abandoned(b *backing) bool {
	return len(b.service.Spec.Selector) > 0 && b.service.Spec.Type != corev1.ServiceTypeExternalName &&
		b.deployment == nil && b.unlisted == nil && b.unread == nil && len(b.ready)+len(b.waiting) == 0
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

// rested judges a configuration that istioctl has put to rest for the tag default.
func (n *neighbour) rested(ctx context.Context, s *Subject) Result {
	if slices.ContainsFunc(n.all.list, func(o *neighbour) bool { return o.tag == "default" && !o.resting }) {
		return notApplicable("istioctl has put it to rest: the tag default takes its place")
	}
	if slices.ContainsFunc(n.all.list, func(o *neighbour) bool {
		return !o.resting && o.revision == "default" && strings.HasSuffix(o.entries[0].Name, istioInjects)
	}) {
		return notApplicable("istioctl has put it to rest, and another configuration takes its place")
	}
	fix := []string{"Install a revision, and give it the tag default (istioctl tag set)."}
	if heirs := n.living(ctx, s); len(heirs) > 0 {
		name := heirs[0].called()
		fix = []string{
			"Give the tag default to a revision that is there (" + names(heirs) + "):", "istioctl tag set default --revision " + heirs[0].revision,
			"Or have the namespaces ask for that revision by name, without istioctl:",
			"kubectl label namespace -l istio-injection=enabled istio-injection- istio.io/rev=" + name + " --overwrite",
		}
	}
	return warn(steps(fix...), "istioctl has put it to rest for the tag default, and that tag is gone").
		meaning("Meanwhile pods in namespaces with istio-injection=enabled start without a sidecar, and nobody gets an error.")
}
