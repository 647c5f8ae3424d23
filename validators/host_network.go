package validators

import (
	"slices"
	"strings"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// hostNetwork finds pods on the host's network that ask for an injection which is not for them.
func hostNetwork() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF134", Name: "host-network", Severity: report.Info,
			Title: "Injection asked for on a hostNetwork pod",
			Why: "Meshes leave pods alone that use the network of their node: a redirect there would take the traffic of the whole node. The pod is outside of the mesh, and other " +
				"pods that insist on mTLS do not answer it.",
			Fix: "Leave hostNetwork out where the pod is to be in the mesh; otherwise decline the injection, so that the pod says what is so.",
		},
		check: func(i *inspection) {
			if !i.target.Spec.HostNetwork {
				return
			}
			for _, injector := range i.plan.Env.Catalogue.All {
				uncalled := len(i.target.Namespace.Registered) > 0 && !i.called(injector)
				if injector.Wants != nil && i.asks(injector) && !uncalled && !i.plan.Acts(injector) && i.leftOut(injector) && !i.muddled(injector, "hostNetwork") {
					fix := i.decline(injector)
					if fix == "" {
						fix = "Leave hostNetwork out, or do not ask."
					}
					i.find(nil, injector.Title+"'s injection is asked for, but "+injector.Title+" leaves pods with hostNetwork alone.", fix)
				}
			}
		},
	}
}

// leftOut tells whether the injector would act on the pod if that were not on the host's network.
func (i *inspection) leftOut(injector *injectors.Injector) bool {
	settings := i.plan.Settings(injector).OrUnknown()
	if injector.Wants(i.target, settings) != injectors.No {
		return false
	}
	other, spec := *i.target, *i.target.Spec
	spec.HostNetwork = false
	other.Spec = &spec
	return injector.Wants(&other, settings) != injectors.No
}

// muddled tells whether the injector itself has something to say about the word, which is nearer the truth.
func (i *inspection) muddled(injector *injectors.Injector, word string) bool {
	return injector.Muddle != nil &&
		slices.ContainsFunc(injector.Muddle(i.target), func(m injectors.Muddle) bool { return strings.Contains(m.What, word) })
}
