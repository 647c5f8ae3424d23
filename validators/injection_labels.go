package validators

import (
	"strings"

	"holdfast.dev/holdfast/report"
)

// injectionLabels finds ways of asking for injection that contradict each other, or do nothing.
func injectionLabels() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF131", Name: "injection-labels", Severity: report.Warning,
			Title: "Labels or annotations that contradict each other, or do nothing",
			Why: "Whether a pod is injected follows from labels and annotations on the pod and on its namespace, and which of them counts differs from injector to injector. " +
				"One that loses against another, or stands where its injector does not look, says the opposite of what happens.",
			Fix: "Leave the one that counts, and remove the other.",
		},
		check: func(i *inspection) {
			for _, injector := range i.plan.Env.Catalogue.All {
				if injector.Muddle == nil {
					continue
				}
				for _, m := range injector.Muddle(i.target) {
					if m.Away && i.neglects(injector) && !i.registered(injector) && i.on(noInjector()) {
						continue // it is not what keeps anybody away: nobody is there
					}
					// An injector does not know what the pod comes from.
					i.find(nil, strings.TrimSuffix(m.What, ".")+".", strings.Replace(m.Fix, "the pod", i.annotated(), 1))
				}
			}
		},
	}
}
