package injectors

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// predict follows the API server's call order through the hooks that are still to come. A hook has run where its
// injector's mark and containers are on the pod. The API server makes one more round at most, and calls in it only hooks that ask for it
// (IfNeeded) and that were called before; a hook without its mark is not called for the first time then
// (k8s.io/apiserver, pkg/admission/plugin/webhook/mutating/dispatcher.go at 0.36).
func (p *Plan) predict(horizon Horizon) {
	hooks := p.Target.Namespace.Hooks
	recallable := false
	if horizon == Rest {
		if self := Self(hooks); self >= 0 {
			recallable = hooks[self].Reinvoked
			hooks = hooks[self+1:]
		}
	}
	// In the extra round somebody's mark is there already: hooks without one have had their chance.
	firstRound := !slices.ContainsFunc(hooks, p.hasRun)
	for _, h := range hooks {
		switch {
		case h.Injector == nil || h.Injector.Inject == nil:
		case p.hasRun(h):
			if h.Reinvoked {
				p.again(h)
			}
		case firstRound && p.willAct(h):
			p.comes(h)
		}
	}
	p.Recalled = recallable && p.Coming
	if p.Coming {
		p.extraRound(hooks)
	}
}

// extraRound runs the hooks that ask for it once more, in the same order. Only a mesh puts in order what others have added
// since.
func (p *Plan) extraRound(hooks []*Hook) {
	for _, h := range hooks {
		if h.Reinvoked && h.Injector != nil && h.Injector.Rerenders && h.Matches(p.Target.Meta.Labels) != No && p.Mesh(h.Injector) != nil {
			h.Injector.Inject(p, h.settings())
		}
	}
}

func (p *Plan) hasRun(h *Hook) bool {
	return h.Injector != nil && p.ran(h.Injector) && h.Matches(p.Target.Meta.Labels) != No
}

// ran tells whether the injector has run on the pod: it left its mark, and a container of its own beside it. A mark alone was
// copied from a pod that was injected; and a template has met nobody, whatever it bears.
func (p *Plan) ran(i *Injector) bool {
	if p.horizon == All || i.Marked == nil || !i.Marked(p.Target) {
		return false
	}
	for _, list := range [...][]corev1.Container{p.Target.Spec.InitContainers, p.Target.Spec.Containers} {
		for k := range list {
			if whose, _ := p.Env.Catalogue.container(p.Target, list[k].Name); whose == i {
				return true
			}
		}
	}
	return false
}

// willAct tells whether the hook will change the pod. Where that cannot be said it is taken for granted, and doubted.
func (p *Plan) willAct(h *Hook) bool {
	matches := h.Matches(p.Target.Meta.Labels)
	if matches == No {
		return false
	}
	wants := h.Injector.Wants(p.Target, h.settings())
	if wants == No {
		return false
	}
	if matches == Unknown {
		p.Doubt("webhook " + h.Name + " has matchConditions")
	}
	if wants == Unknown {
		p.Doubt("whether " + h.Injector.Title + " acts on the pod cannot be said")
	}
	return true
}

func (p *Plan) comes(h *Hook) {
	p.Coming = true
	h.Injector.Inject(p, h.settings())
	if m := p.Mesh(h.Injector); m != nil {
		m.Coming = true
		m.Settings = h.Settings
		p.doubtMode(m, h)
	}
}

// again runs a hook that has left its mark and will be called once more.
func (p *Plan) again(h *Hook) {
	if p.Mesh(h.Injector) == nil || !h.Injector.Rerenders {
		return
	}
	h.Injector.Inject(p, h.settings())
	m := p.Mesh(h.Injector)
	m.Again = true
	m.Settings = h.Settings
}

// doubtMode notes what is not known of a mesh to come: how it redirects, or what it lets pass.
func (p *Plan) doubtMode(m *Mesh, h *Hook) {
	var why string
	switch {
	case m.CNI == Unknown || m.Native == Unknown:
		why = "the mode of " + m.Injector.Title + " is not known"
	case !h.settings().ListsKnown():
		why = "what " + m.Injector.Title + " exempts mesh-wide is not known"
	default:
		return
	}
	if missing := h.settings().Missing; len(missing) > 0 {
		why += " (" + strings.Join(missing, "; ") + ")"
	}
	p.Doubt(why)
}

// Add puts a container that an injector adds into the plan: before all others of its list, or after them.
func (p *Plan) Add(s Step, front bool) {
	s.Index = -1
	list := &p.Inits
	if s.Phase == Main {
		list = &p.Mains
	}
	if front {
		*list = slices.Insert(*list, 0, s)
		return
	}
	*list = append(*list, s)
}
