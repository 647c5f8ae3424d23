package mutators

import "holdfast.dev/holdfast/config"

// restoreSidecar gives a native sidecar its restartPolicy back, which another webhook dropped.
func restoreSidecar() Remedy {
	return Remedy{
		Name:  config.RestoreSidecar,
		Title: "restartPolicy: Always comes back on a proxy that its injector put among the init containers.",
		Never: "on containers that are not an injector's proxy.",
		act: func(d *draft) {
			for i := 0; i < len(d.plan.Inits); i++ { // a plan that is kept may be shorter
				if s := &d.plan.Inits[i]; d.lost && s.LostSidecar() && s.Index >= 0 {
					c := change{container: s.Index, restart: true}
					d.keep(d.after(c), c)
				}
			}
		},
	}
}
