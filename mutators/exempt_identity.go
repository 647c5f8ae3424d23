package mutators

import (
	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// exemptIdentity runs the injected dialer in the proxy's group, which the redirect lets through.
func exemptIdentity() Remedy {
	return Remedy{
		Name:  config.ExemptIdentity,
		Title: "The injected dialer runs in the proxy's group: the narrowest exemption there is, and one that frees names too.",
		Never: "unless switched on; on the user's own containers; where the redirect knows no group.",
		act: func(d *draft) {
			if !d.finished() {
				return
			}
			for i := range d.plan.Inits {
				s := &d.plan.Inits[i]
				if !d.needy(d.plan, s) || s.Declared || s.Index < 0 && d.when != Foresight {
					continue
				}
				to, _, _ := d.plan.Late(s)
				m := d.plan.Blocks(s, to).Mesh
				if m == nil || len(m.Capture.GIDs) == 0 || m.ProxyGID == injectors.NoID {
					continue
				}
				gid := m.ProxyGID
				if plan := d.plan.Grouped(i, gid); d.count(plan) < d.late {
					d.keep(plan, change{container: s.Index, group: &gid})
				}
			}
		},
	}
}
