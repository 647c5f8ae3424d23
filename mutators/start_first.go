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
			for i := 0; i < len(d.plan.Inits); i++ { // a plan that is kept may be shorter
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
	plan := d.switched(i, c)
	if plan == nil || d.count(plan) >= d.late {
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

// switched returns the plan in which the switch of the dialer at i was used on the first pass; nil where it is not.
func (d *draft) switched(i int, c change) *injectors.Plan {
	injector := d.plan.Inits[i].Injector
	switch {
	case d.when == Mutating:
		if d.plan.Coming && d.plan.Certain() {
			return d.after(c)
		}
	case !d.plan.Follows(injector), d.finished() && d.mayReorder() && d.movable(i): // the second pass moves it
	case d.when == Foresight:
		return d.after(c)
	case d.wouldLead(injector):
		return d.plan.Moved(i, 0)
	}
	return nil
}

// wouldLead tells whether what the injector puts first has stayed there: a mesh that is called after it and has its redirect in
// front of a dialer all the same puts that before all others.
func (d *draft) wouldLead(injector *injectors.Injector) bool {
	for k := range d.plan.Meshes {
		if !d.plan.CalledAfter(injector, d.plan.Meshes[k].Injector) {
			return false
		}
	}
	return true
}
