package validators

import (
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// holdTrap finds hold on pods that do not restart a proxy which gave up.
func holdTrap() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF142", Name: "hold-trap", Severity: report.Warning,
			Title: "Hold on a pod that will not restart the proxy",
			Why: "Under hold the proxy's container waits for its proxy and ends when that takes too long (60 s or 2 min). With restartPolicy OnFailure or Never nobody starts it " +
				"again, and the pod runs on without a network (istio#45627).",
			Fix: "Use native sidecars for Jobs, or leave hold out.",
		},
		check: func(i *inspection) {
			if i.target.Restarts() {
				return
			}
			for k := range i.plan.Meshes {
				m := &i.plan.Meshes[k]
				if m.Hold == injectors.Yes && m.Native != injectors.Yes {
					i.find(nil, "the app waits for "+m.Injector.Title+"'s proxy, which nobody restarts under restartPolicy: "+
						string(i.target.Spec.RestartPolicy)+" when it gives up waiting for itself.", i.orNative(m, "Leave hold out"))
				}
			}
		},
	}
}
