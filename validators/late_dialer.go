package validators

import "holdfast.dev/holdfast/report"

// lateDialer finds containers that are known to need the network and start while it is cut.
func lateDialer() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF101", Name: "late-dialer", Severity: report.Error,
			Title: "A container that needs the network starts while it is cut",
			Why: "A mesh redirects the pod's traffic to its proxy before the proxy runs. An init container that starts in between is refused every " +
				"connection. It retries for ever, the proxy waits for all init containers, and the pod stays in Init without a restart or an event.",
			Fix: "Let the container start before the redirect (its injector's own switch; useless where a node plugin redirects), or behind a native sidecar, " +
				"or exempt its destination from the mesh, on the pod or its template.",
		},
		check: func(i *inspection) {
			for k := range i.plan.Inits {
				s := &i.plan.Inits[k]
				to, late, _ := i.plan.Late(s)
				if !late || s.Declared {
					continue
				}
				b := i.plan.Blocks(s, to)
				i.find(s, i.butCut(s, " needs ", to, b), i.advise(s, to, b))
			}
		},
	}
}
