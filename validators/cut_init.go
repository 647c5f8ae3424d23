package validators

import (
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// cutInit finds the pod's own init containers that start while the network is cut. Whether they mind is not known, unless the
// user declared that they do.
func cutInit() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF102", Name: "cut-init", Severity: report.Warning, Otherwise: "error where the container is declared in " + injectors.InitNetworkAnnotation,
			Title: "One of the pod's own init containers starts while the network is cut",
			Why: "Between the redirect and the start of the proxy every connection is refused. An init container that migrates a database or waits for a " +
				"service fails there; one that only writes files does not mind, and Holdfast cannot tell the two apart.",
			Fix: "If it needs the network, say so and where (holdfast.dev/init-network: NAME=HOST:PORT): Holdfast then puts it right or refuses the pod. If not, exempt the pod " +
				"from this rule.",
		},
		check: func(i *inspection) {
			for k := range i.plan.Inits {
				s := &i.plan.Inits[k]
				switch {
				case s.Declared:
					i.declaredCut(s)
				case s.Role == injectors.Own && s.Phase == injectors.Init && i.plan.Network(s, injectors.Endpoint{}) == injectors.Cut:
					b := i.plan.Blocks(s, injectors.Endpoint{})
					i.find(s, i.at(s)+" starts without network, "+i.cut(b),
						"If needed, annotate "+i.annotated()+": "+injectors.InitNetworkAnnotation+`: "`+s.Name+`=HOST:PORT"`)
				}
			}
		},
	}
}

func (i *inspection) declaredCut(s *injectors.Step) {
	to, late, _ := i.plan.Late(s)
	if !late {
		return
	}
	b := i.plan.Blocks(s, to)
	i.findAs(report.Error, s, i.butCut(s, " is declared to need ", to, b), i.advise(s, to, b))
}
