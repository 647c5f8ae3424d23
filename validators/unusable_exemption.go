package validators

import (
	"slices"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// unusableExemption finds values that an injector refuses or misreads.
func unusableExemption() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF111", Name: "unusable-exemption", Severity: report.Error,
			Title: "An annotation's value that the injector refuses or misreads",
			Why: "Injectors read their lists strictly: one space, a bare address or a comma too many, and the whole pod is denied (\"invalid annotations\"), or the init " +
				"container that reads the value fails when it runs.",
			Fix: "Write what the message says. Address ranges: 10.96.7.7/32,192.0.2.0/24. Ports: 8200,3306.",
		},
		check: func(i *inspection) {
			for _, key := range i.unusable() {
				a, _ := i.plan.Env.Catalogue.Annotation(key)
				severity, happens := report.Error, "the injector denies the pod"
				if !a.Denied {
					severity, happens = report.Warning, "it is misread when the pod starts"
				}
				err := a.Check(i.target.Meta.Annotations[key])
				i.findAs(severity, nil, "annotation "+key+": "+err.Error()+"; "+happens+".", "Correct the value.")
			}
			if value, ok := i.target.Meta.Annotations[injectors.InitNetworkAnnotation]; ok {
				if _, err := injectors.ParseInitNetwork(value); err != nil {
					i.findAs(report.Warning, nil, "annotation "+injectors.InitNetworkAnnotation+": "+err.Error()+"; the entry is ignored.", "Write NAME=HOST:PORT.")
				}
			}
		},
	}
}

// unusable returns the keys of annotations with a value that the injector concerned cannot use, sorted.
func (i *inspection) unusable() []string {
	var keys []string
	for key, value := range i.target.Meta.Annotations {
		a, ok := i.plan.Env.Catalogue.Annotation(key)
		if ok && a.Check != nil && a.Check(value) != nil && i.concerns(a) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// concerns tells whether the injector that reads the annotation acts, or acted, on this pod.
func (i *inspection) concerns(a *injectors.Annotation) bool {
	for _, injector := range i.plan.Env.Catalogue.All {
		if slices.ContainsFunc(injector.Annotations, func(b injectors.Annotation) bool { return b.Key == a.Key }) {
			return i.plan.Acts(injector)
		}
	}
	return false
}
