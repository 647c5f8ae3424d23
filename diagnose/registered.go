package diagnose

import (
	"context"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"holdfast.dev/holdfast/manifests"
	"holdfast.dev/holdfast/report"
)

func registered() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF206", Name: "registered", Severity: report.Error,
			Title: "the API server is told to call Holdfast for new pods, by a mutating and by a validating webhook",
			Why:   "A webhook configuration is missing, or calls another Service. The API server then knows nothing of Holdfast: pods are created as if it were not there, and nobody gets an error.",
			Fix:   "holdfast webhooks prints both configurations, 0-holdfast (mutating) and holdfast (validating), for the installation that is there: apply them again.",
		},
		harm:  hidesPods,
		Needs: []string{apiServerCode},
		ask: func(ctx context.Context, s *Subject) Result {
			all, err := s.Entries(ctx)
			if err != nil {
				return cannot(err)
			}
			if !slices.ContainsFunc(all, func(e *Entry) bool { return s.Ours(e) || e.Labels[nameLabel] == ourName }) {
				return failed(s.writeAgain(ctx, ""), "no webhook configuration calls Service %s/%s, neither a mutating nor a validating one", s.Own.Namespace, s.Own.Service)
			}
			var names []string
			for _, mutating := range []bool{true, false} {
				name, result := s.registeredAs(ctx, all, mutating)
				if name == "" {
					return result
				}
				names = append(names, name)
			}
			return passed("%s", list(names))
		},
	}
}

// registeredAs returns the configuration of a kind that calls us for new pods, else what is wrong.
func (s *Subject) registeredAs(ctx context.Context, all []*Entry, mutating bool) (name string, wrong Result) {
	what, loss := validatingKind, "nothing is refused or recorded"
	if mutating {
		what, loss = mutatingKind, "nothing is put right"
	}
	both := !slices.ContainsFunc(all, func(o *Entry) bool { return s.Ours(o) && o.Creates("pods") })
	effect := unseenBy(mutating || both, !mutating || both)
	mine := func(o *Entry) bool { return o.Mutating == mutating && s.Ours(o) }
	wrong = failed(s.writeAgain(ctx, what), "no %s webhook configuration calls Service %s/%s: %s", what, s.Own.Namespace, s.Own.Service, loss).meaning(effect)
	for _, e := range all {
		switch {
		case e.Mutating != mutating:
		case s.Ours(e) && e.Creates("pods"):
			return e.Where(), Result{}
		case s.Ours(e) && !e.Probe():
			wrong = failed(s.calledAgain(ctx, all, e), "%s has no entry for the creation of pods: %s", e.Where(), loss).meaning(effect)
		case e.Labels[nameLabel] == ourName && e.ClientConfig.Service != nil && !slices.ContainsFunc(all, mine):
			return "", s.callsAnother(ctx, all, e, loss).meaning(effect)
		}
	}
	return "", wrong
}

// calledAgain gives a configuration of ours its entry for pods back: by its rules, where the entry is there and called for something
// else.
func (s *Subject) calledAgain(ctx context.Context, all []*Entry, of *Entry) string {
	for _, e := range all {
		if rules := shippedRules(e); rules != nil && e.Where() == of.Where() {
			return steps("Have entry "+e.Name+" called for the creation of pods again, as it is shipped:", e.patch(op{"replace", "/rules", rules}), s.owned(e.object()))
		}
	}
	if of.Mutating {
		return s.writeAgain(ctx, mutatingKind)
	}
	return s.writeAgain(ctx, validatingKind)
}

// shippedRules are those of the entry for pods of that name; nil for other entries.
func shippedRules(e *Entry) []admissionregistrationv1.RuleWithOperations {
	m, v, err := manifests.Webhooks(manifests.Installation{})
	if err != nil { // a test renders them
		return nil
	}
	if e.Mutating && e.Name == m.Webhooks[0].Name {
		return m.Webhooks[0].Rules
	}
	if !e.Mutating && e.Name == v.Webhooks[0].Name {
		return v.Webhooks[0].Rules
	}
	return nil
}

// shippedAs is the name that the manifests give to a configuration of this installation.
func (s *Subject) shippedAs(mutating bool) string {
	first, second := manifests.Installation{Service: s.Own.Service}.Names()
	if mutating {
		return first
	}
	return second
}

// callsAnother is for a configuration with our label whose entries lead to another Service.
func (s *Subject) callsAnother(ctx context.Context, all []*Entry, e *Entry, loss string) Result {
	to := e.ClientConfig.Service
	var there, whole []*Entry
	for _, o := range all {
		if o.Where() != e.Where() {
			continue
		}
		whole = append(whole, o)
		if other := o.ClientConfig.Service; other != nil && other.Namespace == to.Namespace && other.Name == to.Name {
			there = append(there, o)
		}
	}
	service, err := s.Service(ctx, to.Namespace, to.Name)
	what, kind := "", validatingKind
	if e.Mutating {
		kind = mutatingKind
	}
	switch {
	case e.Configuration != s.shippedAs(e.Mutating): // of another installation
		return failed(s.writeAgain(ctx, kind), "no configuration like %s calls Service %s/%s, that one belongs to another Holdfast, behind Service %s/%s: %s",
			e.Where(), s.Own.Namespace, s.Own.Service, to.Namespace, to.Name, loss)
	case err == nil && service == nil:
		what = ", which does not exist"
	}
	return failed(steps("Lead them to Holdfast's Service:", patchEntries(there, op{"replace", "/clientConfig/service/namespace", s.Own.Namespace}, op{"replace", "/clientConfig/service/name", s.Own.Service}),
		s.owned(e.object())),
		"%d of %d entries of %s call Service %s/%s%s; Holdfast is behind %s/%s, and %s",
		len(there), len(whole), e.Where(), to.Namespace, to.Name, what, s.Own.Namespace, s.Own.Service, loss)
}
