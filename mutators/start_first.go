package mutators

import (
	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// startFirst uses the dialer's own switch to start before every other init container.
func startFirst() Remedy {
	return Remedy{
		Name:  config.StartFirst,
		Title: "The dialer starts before the redirect: its injector's own switch.",
		Never: "under CNI (it cures nothing there, and breaks what a native sidecar had cured), where the mode of the mesh is in doubt, and where a second pass will see the finished pod.",
		act: func(d *draft) {
			for i := range d.plan.Inits {
				if d.startFirst(i) {
					return
				}
			}
		},
	}
}

func (d *draft) startFirst(i int) bool {
	s := &d.plan.Inits[i]
	if !d.needy(d.plan, s) || s.Injector == nil || s.Injector.First == nil || !d.frontIsOpen(i) {
		return false
	}
	c := change{annotation: s.Injector.First(d.plan.Target), value: "true"}
	if _, decided := d.plan.Target.Meta.Annotations[c.annotation]; decided {
		return false
	}
	var plan *injectors.Plan
	switch {
	case d.when == Mutating && d.plan.Coming && d.plan.Certain():
		plan = d.after(c)
	case d.when != Mutating && !d.finished() && d.plan.Follows(s.Injector):
		plan = d.plan.Moved(i, 0)
	default:
		return false
	}
	if d.count(plan) >= d.late {
		return false
	}
	d.keep(plan, c)
	return true
}

// frontIsOpen tells whether the network is there before the first init container, and whether that must be used: no second
// pass will see the finished pod.
func (d *draft) frontIsOpen(i int) bool {
	for k := range d.plan.Meshes {
		if m := &d.plan.Meshes[k]; m.CNI != injectors.No || d.secondPass(i, m) {
			return false
		}
	}
	return true
}
