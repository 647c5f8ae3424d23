package mutators

import (
	"slices"

	"holdfast.dev/holdfast/config"
)

// reorder moves a dialer to the nearest place among the init containers where it has the network.
func reorder() Remedy {
	return Remedy{
		Name:  config.Reorder,
		Title: "The dialer moves before the redirect, or behind the proxy: the least distance, all other containers in their order.",
		Never: "on a pod that injectors still have to change, on owners listed under keepOrder, on containers that are not known or declared to need the network.",
		act: func(d *draft) {
			if !d.finished() || !d.mayReorder() || d.late == 0 || !d.aligned() {
				return
			}
			// Those that move to the front go in their order and those that move to the back against it: that keeps the
			// order among them.
			for i := range d.plan.Inits {
				d.move(i, i-1, -1, -1)
			}
			for i := range slices.Backward(d.plan.Inits) {
				d.move(i, i+1, len(d.plan.Inits), 1)
			}
		},
	}
}

// aligned tells that the plan has the init containers where the pod has them. It has not where a hook that is called once
// more will move its own: what is still wrong after that is not cured by moving.
func (d *draft) aligned() bool {
	if d.when == Foresight {
		return true // nothing is moved yet
	}
	for i := range d.plan.Inits {
		if d.plan.Inits[i].Index != i {
			return false
		}
	}
	return true
}

// move tries the places from first to before end, step by step, and keeps the first that cures the dialer and harms nobody.
func (d *draft) move(i, first, end, step int) {
	s := &d.plan.Inits[i]
	if !d.needy(d.plan, s) {
		return
	}
	for to := first; to != end; to += step {
		plan := d.plan.Moved(i, to)
		if d.needy(plan, &plan.Inits[to]) || d.count(plan) >= d.late {
			continue
		}
		if step < 0 && d.nearerBehind(i, i-to) {
			return
		}
		d.keep(plan, change{move: true, from: i, to: to})
		return
	}
}

// nearerBehind tells whether a place behind the dialer, nearer than distance, cures it too.
func (d *draft) nearerBehind(i, distance int) bool {
	for to := i + 1; to < len(d.plan.Inits) && to-i < distance; to++ {
		if plan := d.plan.Moved(i, to); !d.needy(plan, &plan.Inits[to]) && d.count(plan) < d.late {
			return true
		}
	}
	return false
}
