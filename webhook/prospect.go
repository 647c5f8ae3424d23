package webhook

import (
	"slices"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// prospect takes into account what will be done to the pods of a workload once they are made: what is foretold of a
// container that can be put right then is no more than a note. What is not certain never refuses.
func prospect(plan *injectors.Plan, c *config.Config, findings []report.Finding) []report.Finding {
	out := slices.Clone(findings)
	for i := range out {
		f := &out[i]
		switch {
		case curable(plan, c, f.Container):
			f.Severity = min(f.Severity, report.Info)
		case !plan.Certain():
			f.Severity = min(f.Severity, report.Warning)
		}
	}
	report.Sort(out)
	return out
}

// curable tells whether a dialer that will be late can be put right when its pod is there.
func curable(plan *injectors.Plan, c *config.Config, container string) bool {
	at := slices.IndexFunc(plan.Inits, func(s injectors.Step) bool { return s.Name == container })
	if at < 0 || !late(plan, at) {
		return false
	}
	if c.Remedy(config.ExemptIdentity) || c.Remedy(config.ExemptPort) {
		return true // both ask for more than is known here
	}
	if c.Remedy(config.ExemptAddress) && reachable(&plan.Inits[at], c) {
		return true
	}
	return c.Remedy(config.Reorder) && seesFinished(plan.Target.Namespace.Hooks) && movable(plan, at)
}

func late(plan *injectors.Plan, at int) bool {
	_, cut, nameless := plan.Late(&plan.Inits[at])
	return cut || nameless
}

// reachable tells whether it is known which addresses would have to be exempt.
func reachable(s *injectors.Step, c *config.Config) bool {
	if s.Injector != nil && len(c.Ranges(s.Injector.Name)) > 0 {
		return true
	}
	return len(s.To) > 0 && !slices.ContainsFunc(s.To, func(to injectors.Endpoint) bool { return len(to.Addrs) == 0 })
}

// movable tells whether there is a place among the init containers where the dialer has the network.
func movable(plan *injectors.Plan, at int) bool {
	for to := range plan.Inits {
		if to != at && !late(plan.Moved(at, to), to) {
			return true
		}
	}
	return false
}

// seesFinished tells whether we are called after the last injector: once more, or because we come last.
func seesFinished(hooks []*injectors.Hook) bool {
	self := slices.IndexFunc(hooks, func(h *injectors.Hook) bool { return h.Self })
	if self < 0 {
		return false
	}
	return hooks[self].Reinvoked || !slices.ContainsFunc(hooks[self+1:], func(h *injectors.Hook) bool { return h.Injector != nil })
}
