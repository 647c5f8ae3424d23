package injectors

import "slices"

// TakesPort tells whether the redirect takes what the app sends to the port, wherever that goes.
func (c *Capture) TakesPort(port uint16) Tri {
	passes := c.passes(NoID, NoID)
	switch {
	case passes == Yes, portIn(c.ExcludePorts, port):
		return No
	case passes == Unknown:
		return Unknown
	case !c.Listed || portIn(c.IncludePorts, port):
		return Yes
	case len(c.Include) > 0:
		return Unknown
	}
	return No
}

// Released returns the plan in which the mesh's list of that meaning (ExcludePorts or ExcludeInbound) has more ports.
func (p *Plan) Released(injector *Injector, means Meaning, ports []Ports) *Plan {
	out := *p
	out.Meshes = slices.Clone(p.Meshes)
	if m := out.Mesh(injector); m != nil {
		list := &m.Capture.ExcludePorts
		if means == ExcludeInbound {
			list = &m.Capture.Inbound.Exclude
		}
		*list = slices.Concat(*list, ports)
	}
	return &out
}
