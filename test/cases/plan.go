package cases

import (
	"fmt"
	"strings"

	"holdfast.dev/holdfast/injectors"
)

// Describe prints a plan: a line for each container in the order of their start, then one for each redirect, then the doubts.
//
//	init    installer linkerd-init       open
//	native  proxy     linkerd-proxy      cut
//	init    dialer    vault-agent-init   10.96.7.7:8200 meshed
//	main    own       app                meshed
//	mesh linkerd: init, native, no hold
func Describe(p *injectors.Plan) string {
	var b strings.Builder
	for _, list := range [...][]injectors.Step{p.Inits, p.Mains} {
		for i := range list {
			s := &list[i]
			fmt.Fprintf(&b, "%-6s  %-9s  %-30s %s\n", phase(s.Phase), s.Role, named(s), network(p, s))
		}
	}
	for i := range p.Meshes {
		fmt.Fprintf(&b, "mesh %s: %s\n", p.Meshes[i].Injector.Name, mode(p, &p.Meshes[i]))
	}
	for _, doubt := range p.Doubts {
		fmt.Fprintf(&b, "doubt: %s\n", doubt)
	}
	return b.String()
}

func phase(p injectors.Phase) string { return [...]string{"init", "native", "main"}[p] }

// named says who put the container there, where that is somebody else than its user.
func named(s *injectors.Step) string {
	name := s.Name
	switch {
	case s.Wrapped:
		name += " (wrapped by " + s.Injector.Name + ")"
	case s.Declared:
		name += " (declared)"
	case s.Injector != nil && s.Index < 0:
		name += " (" + s.Injector.Name + ", to come)"
	case s.Injector != nil:
		name += " (" + s.Injector.Name + ")"
	}
	return name
}

func network(p *injectors.Plan, s *injectors.Step) string {
	to := s.To
	if len(to) == 0 {
		to = []injectors.Endpoint{{}}
	}
	var out []string
	for _, t := range to {
		state := p.Network(s, t).String()
		if t.Known() {
			state = t.String() + " " + state
		}
		out = append(out, state)
	}
	if names := p.Names(s); names != injectors.Yes {
		out = append(out, "names: "+names.String())
	}
	if _, late, dns := p.Late(s); late || dns {
		out = append(out, "LATE")
	}
	return strings.Join(out, ", ")
}

func mode(p *injectors.Plan, m *injectors.Mesh) string {
	words := []string{
		map[injectors.Tri]string{injectors.Yes: "cni", injectors.No: "init", injectors.Unknown: "cni unknown"}[m.CNI],
		map[injectors.Tri]string{injectors.Yes: "native", injectors.No: "classic", injectors.Unknown: "native unknown"}[m.Native],
		map[injectors.Tri]string{injectors.Yes: "hold", injectors.No: "no hold", injectors.Unknown: "hold unknown"}[m.Hold],
	}
	if m.Reads() {
		words = append(words, "still reads annotations")
	}
	for _, means := range []injectors.Meaning{injectors.ExcludeCIDRs, injectors.ExcludePorts, injectors.ExcludeUIDs} {
		a := m.Injector.Annotation(means)
		if a == nil {
			continue
		}
		if list, known := m.List(means, p.Target); !known {
			words = append(words, a.Key+" unknown")
		} else if list != "" {
			words = append(words, a.Key+"="+list)
		}
	}
	return strings.Join(words, ", ")
}
