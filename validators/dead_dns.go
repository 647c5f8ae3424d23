package validators

import (
	"holdfast.dev/holdfast/report"
)

// deadDNS finds dialers whose destination is open while its name cannot be resolved.
func deadDNS() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF106", Name: "dead-dns", Severity: report.Error,
			Title: "The network is open to the container, names are not",
			Why: "The mesh captures DNS too. An exempt address does not exempt the query for its name, and until the proxy serves nobody answers it: the container " +
				"cannot find out where to connect.",
			Fix: "Give the container an address instead of a name, let it run in the proxy's group (remedy exempt-identity), let it start behind a native sidecar, or switch DNS capture off for the pod.",
		},
		check: func(i *inspection) {
			for k := range i.plan.Inits {
				s := &i.plan.Inits[k]
				to, _, dns := i.plan.Late(s)
				if !dns {
					continue
				}
				b := i.plan.Blocks(s, to)
				i.find(s, i.at(s)+" cannot resolve "+report.Shorten(to.Host, 60)+": DNS is "+i.cut(b), i.advise(s, to, b))
			}
		},
	}
}
