package validators

import "holdfast.dev/holdfast/report"

// lostSidecar finds native sidecars that another webhook turned into plain init containers.
func lostSidecar() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF104", Name: "lost-sidecar", Severity: report.Error,
			Title: "A native sidecar lost its restartPolicy",
			Why: "A webhook or operator built against an old Kubernetes API decodes the pod into its own types and writes it back: fields that it does not know, such as " +
				"restartPolicy on init containers, are gone. The API server then rejects the pod for its probes, or the proxy runs as an init container that never ends.",
			Fix: "Update the webhook that rewrites the pod (it runs after the mesh's), or switch native sidecars off for the pod.",
		},
		Early: true,
		check: func(i *inspection) {
			for k := range i.plan.Inits {
				s := &i.plan.Inits[k]
				if !s.LostSidecar() {
					continue
				}
				i.find(s, i.at(s)+" lost its restartPolicy: Always to a webhook that runs after "+s.Injector.Title+"'s: nothing behind it ever starts.",
					"Update that webhook: it is built on an old Kubernetes API.")
			}
		},
	}
}
