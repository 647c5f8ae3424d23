package diagnose

import (
	"context"
	"slices"

	"holdfast.dev/holdfast/report"
)

func registered() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF206", Name: "registered", Severity: report.Error,
			Title: "the API server is told to call Holdfast for new pods, by a mutating and by a validating webhook",
			Why:   "A webhook configuration is missing, or calls another Service. The API server then knows nothing of Holdfast: pods are created as if it were not there, and nobody gets an error.",
			Fix:   "Apply the manifests again, both configurations: 0-holdfast (mutating) and holdfast (validating).",
		},
		Needs: []string{apiServerCode},
		ask: func(ctx context.Context, s *Subject) Result {
			all, err := s.Entries(ctx)
			if err != nil {
				return cannot(err)
			}
			var names []string
			for _, mutating := range []bool{true, false} {
				name, result := s.registeredAs(all, mutating)
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
func (s *Subject) registeredAs(all []*Entry, mutating bool) (name string, wrong Result) {
	what, loss, shipped := "validating", "nothing is refused or recorded", "holdfast"
	if mutating {
		what, loss, shipped = "mutating", "nothing is put right", "0-holdfast"
	}
	again := "Apply the manifests of Holdfast again; kubectl get " + what + "webhookconfiguration " + shipped + " should then find it."
	wrong = failed(again, "no %s webhook configuration calls Service %s/%s: %s", what, s.Own.Namespace, s.Own.Service, loss)
	for _, e := range all {
		switch {
		case e.Mutating != mutating:
		case s.Ours(e) && e.Creates("pods"):
			return e.Where(), Result{}
		case s.Ours(e) && !e.Probe():
			wrong = failed(again, "%s has no entry for the creation of pods: %s", e.Where(), loss)
		case e.Labels[nameLabel] == ourName && e.ClientConfig.Service != nil && !slices.ContainsFunc(all, func(o *Entry) bool { return o.Mutating == mutating && s.Ours(o) }):
			wrong = failed("Apply the manifests of Holdfast again, with one namespace and prefix for all of them.", "%s calls Service %s/%s, Holdfast is behind %s/%s: %s",
				e.Where(), e.ClientConfig.Service.Namespace, e.ClientConfig.Service.Name, s.Own.Namespace, s.Own.Service, loss)
		}
	}
	return "", wrong
}
