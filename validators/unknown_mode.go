package validators

import (
	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

// unknownMode finds namespaces whose mode is none.
func unknownMode() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF190", Name: "unknown-mode", Severity: report.Warning,
			Title: "The namespace's mode is not one that Holdfast knows",
			Why:   "A value of holdfast.dev/mode that is misspelled counts as audit: nothing is put right and nothing is refused, against what its author meant.",
			Fix:   "Label the namespace with enforce, warn, audit or off.",
		},
		check: func(i *inspection) {
			if _, err := i.config.ModeOf(i.target.Namespace); err != nil {
				i.find(nil, "namespace "+i.target.Namespace.Name+" has "+err.Error()+"; it counts as audit.",
					"kubectl label --overwrite namespace "+i.target.Namespace.Name+" "+config.ModeLabel+"=enforce")
			}
		},
	}
}
