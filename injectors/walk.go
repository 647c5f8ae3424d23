package injectors

import "slices"

// State is what the network is for a container at the moment it starts.
type State uint8

// The zero value is Unclear: not enough is known to say.
const (
	Unclear State = iota
	Open          // its traffic leaves the pod unchanged
	Cut           // redirected, and no proxy serves yet: connections are refused
	Meshed        // through the proxy
)

// String returns open, cut, meshed or unknown.
func (s State) String() string { return [...]string{"unknown", "open", "cut", "meshed"}[s] }

// walk follows the kubelet's start order and notes at each container which redirects are in place and which proxies serve.
//
//	redirect by      in place
//	node plugin      before the first container
//	init container   when that has ended
//
//	proxy            serves
//	native sidecar   once started (where nothing gates it: soon, and whoever comes next retries)
//	main container   after all init containers; for the containers behind it only where it is held (postStart)
func (p *Plan) walk() {
	var redirected, maybe, serving, lost meshes
	for i := range p.Meshes {
		switch m := &p.Meshes[i]; {
		case m.CNI == Yes:
			redirected |= 1 << i
		case m.CNI == Unknown:
			maybe |= 1 << i
		}
		if p.Meshes[i].Native == Unknown && p.Meshes[i].Coming {
			lost |= 1 << i
		}
	}
	for _, list := range [...][]Step{p.Inits, p.Mains} {
		for i := range list {
			s := &list[i]
			s.redirected, s.maybe, s.serving, s.lost = redirected, maybe, serving, lost
			if s.Role != Installer && s.Role != Proxy {
				continue
			}
			mesh := p.meshBit(s.Injector)
			switch {
			case s.Role == Installer:
				redirected |= mesh
				maybe &^= mesh
			case p.Mesh(s.Injector).loops(s):
				lost |= mesh
			case s.Phase == Native, s.Phase == Main && s.Gated:
				serving |= mesh
			}
		}
	}
}

// loops tells that the proxy runs with ids that the redirect does not let through: what it sends comes back to it, and whether
// it ever serves cannot be said.
func (m *Mesh) loops(proxy *Step) bool {
	return m != nil && proxy.UID != NoID && m.Capture.takes(proxy.UID, proxy.GID, Endpoint{}) != No
}

func (p *Plan) meshBit(injector *Injector) meshes {
	for i := range p.Meshes {
		if p.Meshes[i].Injector == injector {
			return 1 << i
		}
	}
	return 0
}

// Takes tells whether the mesh redirects what the container sends to the endpoint; the zero Endpoint asks about the network at
// large.
func (m *Mesh) Takes(s *Step, to Endpoint) Tri { return m.Capture.takes(s.UID, s.GID, to) }

// Network tells what the network is for a connection by the container to the endpoint. The zero Endpoint asks about the
// network at large.
func (p *Plan) Network(s *Step, to Endpoint) State {
	state := Open
	for i := range p.Meshes {
		bit := meshes(1) << i
		if (s.redirected|s.maybe|s.lost)&bit == 0 {
			continue
		}
		switch p.Meshes[i].Capture.takes(s.UID, s.GID, to) {
		case No:
			continue
		case Unknown:
			return Unclear
		case Yes:
		}
		switch {
		case s.lost&bit != 0:
			return Unclear
		case s.serving&bit != 0:
			if state == Open {
				state = Meshed
			}
		case s.redirected&bit == 0:
			return Unclear
		default:
			state = Cut
		}
	}
	return state
}

// Names tells whether the container can resolve names when it starts. Where DNS is not captured they always resolve.
func (p *Plan) Names(s *Step) Tri {
	for i := range p.Meshes {
		bit := meshes(1) << i
		if (s.redirected|s.maybe|s.lost)&bit == 0 || s.serving&bit != 0 {
			continue
		}
		names := p.Meshes[i].Capture.names(s.UID, s.GID, p)
		if names == Yes {
			continue
		}
		if names == Unknown || s.lost&bit != 0 || s.redirected&bit == 0 {
			return Unknown
		}
		return No
	}
	return Yes
}

// Blocker is the container because of which another one is cut, and the proxy that will serve too late. Either is nil
// where the pod has none to show: a node plugin leaves no container that acts.
type Blocker struct {
	Mesh             *Mesh
	Installer, Proxy *Step
}

// Blocks returns what cuts the network of a container that is Cut for the endpoint.
func (p *Plan) Blocks(s *Step, to Endpoint) Blocker {
	for i := range p.Meshes {
		bit := meshes(1) << i
		m := &p.Meshes[i]
		if s.redirected&bit == 0 || s.serving&bit != 0 {
			continue
		}
		if m.Capture.takes(s.UID, s.GID, to) != Yes && m.Capture.names(s.UID, s.GID, p) != No {
			continue
		}
		b := Blocker{Mesh: m}
		b.Installer, b.Proxy = p.parts(m.Injector)
		return b
	}
	return Blocker{}
}

// Late tells whether the container, which needs the network for the pod to start, certainly cannot have it: its
// destinations are all cut. dns tells that the destination is open, and its name is what cannot be had.
func (p *Plan) Late(s *Step) (to Endpoint, late, dns bool) {
	if s.Phase == Main || s.Role != Dialer || s.Phase == Native && !s.Gated {
		return Endpoint{}, false, false
	}
	if len(s.To) == 0 {
		return Endpoint{}, p.Network(s, Endpoint{}) == Cut && p.nothingPasses(s), false
	}
	for _, to := range s.To {
		switch p.Network(s, to) {
		case Cut:
			return to, true, false
		case Open:
			if to.Named() && p.Names(s) == No {
				return to, false, true
			}
		case Meshed, Unclear:
		}
	}
	return Endpoint{}, false, false
}

// nothingPasses tells that no destination at all is let through: only then is a dialer certainly late whose destination
// is not known.
func (p *Plan) nothingPasses(s *Step) bool {
	for i := range p.Meshes {
		c := &p.Meshes[i].Capture
		if s.redirected&(1<<i) != 0 && c.passes(s.UID, s.GID) == No && !c.Listed && !slices.ContainsFunc(c.Exclude, named) && len(c.ExcludePorts) == 0 {
			return true
		}
	}
	return false
}
