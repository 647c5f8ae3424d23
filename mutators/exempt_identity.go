package mutators

import (
	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// exemptIdentity lets the dialer alone pass: by its user, where the mesh keeps a list of users, else in the proxy's group.
func exemptIdentity() Remedy {
	return Remedy{
		Name:  config.ExemptIdentity,
		Title: "The dialer alone leaves the redirect: its user joins the mesh's list of users, or it runs in the proxy's group. The narrowest exemption there is, and one that frees names too.",
		Never: "unless switched on; in the proxy's group never the user's own containers; where the redirect knows neither users nor groups.",
		act: func(d *draft) {
			for i := 0; i < len(d.plan.Inits); i++ { // a plan that is kept may be shorter
				d.exemptDialer(i, injectors.ExcludeUIDs, users)
				d.joinProxy(i)
			}
		},
	}
}

func users(s *injectors.Step, a *injectors.Annotation, list string) (string, bool) {
	if s.UID == injectors.NoID {
		return "", false
	}
	value := a.AddUID(list, s.UID)
	return value, a.Check == nil || a.Check(value) == nil // some know only so many users
}

// joinProxy runs an injected dialer in the proxy's group.
func (d *draft) joinProxy(i int) {
	s := &d.plan.Inits[i]
	if !d.finished() || !d.needy(d.plan, s) || s.Declared || s.Wrapped || s.Index < 0 && d.when != Foresight {
		return
	}
	to, _, _ := d.plan.Late(s)
	m := d.plan.Blocks(s, to).Mesh
	if m == nil || len(m.Capture.GIDs) == 0 || m.ProxyGID == injectors.NoID || !d.try() {
		return
	}
	gid := m.ProxyGID
	if plan := d.plan.Grouped(i, gid); d.count(plan) < d.late {
		d.keep(plan, change{container: s.Index, group: &gid})
	}
}
