package injectors

import "slices"

// Users tells that the container is the user's own, whatever others have made of it.
func (s *Step) Users() bool { return s.Role == Own || s.Wrapped || s.Declared }

// LostSidecar tells that the container is an injector's proxy among the init containers without restartPolicy: Always: it
// never ends, and the pod waits for it for ever.
func (s *Step) LostSidecar() bool { return s.Phase == Init && s.Role == Proxy }

// Moved returns the plan in which the init container at from stands at to, all others in their order. Steps know their
// place in the pod no more.
func (p *Plan) Moved(from, to int) *Plan {
	out := *p
	s := p.Inits[from]
	out.Inits = append(make([]Step, 0, len(p.Inits)), p.Inits[:from]...)
	out.Inits = append(out.Inits, p.Inits[from+1:]...)
	out.Inits = slices.Insert(out.Inits, to, s)
	n := 0
	for i := range out.Inits {
		if out.Inits[i].Index >= 0 {
			out.Inits[i].Index = n
			n++
		}
	}
	out.walk()
	return &out
}

// Grouped returns the plan in which the init container at i runs in the group.
func (p *Plan) Grouped(i int, gid int64) *Plan {
	out := *p
	out.Inits = slices.Clone(p.Inits)
	out.Inits[i].GID = gid
	return &out
}

// Exempted returns the plan in which the mesh had rendered its redirect from the annotation's value.
func (p *Plan) Exempted(injector *Injector, a *Annotation, value string) *Plan {
	out := *p
	out.Meshes = slices.Clone(p.Meshes)
	m := out.Mesh(injector)
	if m == nil {
		return &out
	}
	switch a.Means {
	case ExcludeCIDRs:
		m.Capture.Exclude, _ = a.ReadCIDRs(value)
	case ExcludePorts:
		m.Capture.ExcludePorts, _ = a.ReadPorts(value)
	case ExcludeUIDs:
		for _, uid := range a.ReadUIDs(value) {
			m.Capture.Users = append(slices.Clip(m.Capture.Users), Users{First: uid, Last: uid})
		}
	case ExcludeInbound:
		m.Capture.Inbound.Exclude, _ = a.ReadPorts(value)
	case Opaque, IncludeCIDRs, IncludePorts, IncludeInbound:
	}
	return &out
}

// Held returns the plan in which the app waits for the mesh's proxy.
func (p *Plan) Held(injector *Injector) *Plan {
	out := *p
	out.Meshes = slices.Clone(p.Meshes)
	m := out.Mesh(injector)
	if m == nil || m.Native != No {
		return &out // a native sidecar has no place among the containers; one that may be has none to tell
	}
	m.Hold = Yes
	out.Mains = slices.Clone(p.Mains)
	for i, s := range out.Mains {
		if s.Injector == injector && s.Role == Proxy {
			s.Gated = true
			out.Mains = slices.Insert(slices.Delete(out.Mains, i, i+1), 0, s)
			break
		}
	}
	out.walk()
	return &out
}

// Follows tells whether a hook of the injector that matches the pod is called after ours, or again after it: what we write
// on a pod's first pass it reads.
func (p *Plan) Follows(injector *Injector) bool {
	self := Self(p.Target.Namespace.Hooks)
	for i, h := range p.Target.Namespace.Hooks {
		if h.Injector == injector && (i > self || h.Reinvoked && injector.Rerenders) && h.Matches(p.Target.Meta.Labels) != No {
			return true
		}
	}
	return false
}

// CalledAfter tells whether a hook of the injector that matches the pod is called after every one of the other injector.
func (p *Plan) CalledAfter(injector, other *Injector) bool {
	last, lastOther := -1, -1
	for i, h := range p.Target.Namespace.Hooks {
		switch {
		case h.Matches(p.Target.Meta.Labels) == No:
		case h.Injector == injector:
			last = i
		case h.Injector == other:
			lastOther = i
		}
	}
	return last > lastOther
}

// SeenFinished tells whether we were called once more after the last injector had changed the pod: our hook is reinvoked,
// or nobody comes after it.
func (p *Plan) SeenFinished() bool {
	hooks := p.Target.Namespace.Hooks
	self := Self(hooks)
	if self < 0 || hooks[self].Reinvoked {
		return true
	}
	for _, h := range hooks[self+1:] {
		if p.hasRun(h) || p.Target.Template() && h.Injector != nil && p.Acts(h.Injector) {
			return false
		}
	}
	return true
}
