package mutators

import (
	"slices"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
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
				d.move(i, toFront)
			}
			for i := range slices.Backward(d.plan.Inits) {
				d.move(i, toBack)
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

// direction is in which a dialer moves.
type direction int

const (
	toFront direction = -1
	toBack  direction = 1
)

// move puts a dialer where it is cured and nobody is harmed, if the nearest such place lies in that direction.
func (d *draft) move(i int, where direction) {
	if !d.needy(d.plan, &d.plan.Inits[i]) {
		return
	}
	to, plan := d.nearest(i, where)
	if plan == nil {
		return
	}
	if where == toFront {
		if back, cured := d.nearest(i, toBack); cured != nil && back-i < i-to {
			return // its turn comes
		}
	}
	d.keep(plan, change{move: true, from: i, to: to})
}

// nearest returns the nearest place in a direction that cures the dialer at i, and the plan with it there; nil where none
// does. The network changes at a mesh's own containers and nowhere else, so only the places beside them are tried.
func (d *draft) nearest(i int, where direction) (int, *injectors.Plan) {
	for to := i + int(where); to >= 0 && to < len(d.plan.Inits); to += int(where) {
		s := &d.plan.Inits[to]
		switch s.Role {
		case injectors.Installer, injectors.Validator, injectors.Proxy:
		case injectors.Helper:
			if where == toFront && s.Injector == d.plan.Inits[i].Injector {
				return 0, nil // it uses what that one brings
			}
			continue
		case injectors.Own, injectors.Dialer:
			continue
		}
		if !d.try() {
			return 0, nil
		}
		if plan := d.plan.Moved(i, to); !d.needy(plan, &plan.Inits[to]) && d.count(plan) < d.late {
			return to, plan
		}
	}
	return 0, nil
}
