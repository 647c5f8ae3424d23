package validators

import (
	"strings"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

// exemptionExpired finds exemptions that have ended.
func exemptionExpired() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF191", Name: "exemption-expired", Severity: report.Warning,
			Title: "The pod's exemption has ended",
			Why: "An exemption with a date holds until the end of that day (UTC). The rules that it named apply again: what was let through is now refused, or put right, " +
				"where the namespace is enforced.",
			Fix: "Put right what the exemption was for and remove it, or give it a new date.",
		},
		check: func(i *inspection) {
			from, asked := i.target.Meta.Annotations[config.ExemptAnnotation]
			until, ends := i.target.Meta.Annotations[config.ExemptUntilAnnotation]
			if !asked || !ends || !i.config.ExemptAnnotations || i.plan.Env.Now == nil {
				return
			}
			if end, err := config.ParseUntil(until); err == nil && !i.plan.Env.Now().Before(end) {
				i.find(nil, "the exemption from "+report.Shorten(strings.TrimSpace(from), 60)+" ended on "+report.Shorten(strings.TrimSpace(until), 25)+"; it does not hold any more.",
					"Remove annotation "+config.ExemptAnnotation+", or set "+config.ExemptUntilAnnotation+" to a day to come.")
			}
		},
	}
}
