package mutators

import (
	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// serverFirstPorts exempts the configured ports, on which servers speak first, from a redirect whose proxy would wait for the
// client to speak.
func serverFirstPorts() Remedy {
	return Remedy{
		Name:  config.ServerFirst,
		Title: "The ports on which servers speak first leave the redirect, for every destination: those that the configuration lists under serverFirstPorts.",
		Never: "unless configured; never ports 53, 80 and 443; where the mesh does not look at what a connection says, or handles the port by itself; " +
			"where nobody will read the annotation any more; where it would replace a list that is not known, and on values that do not parse.",
		act: func(d *draft) {
			for i := 0; i < len(d.plan.Meshes); i++ { // a plan that is kept may have fewer
				d.letPass(i, injectors.ExcludePorts, d.hanging)
			}
		},
	}
}

// hanging returns the configured ports on which connections through the mesh hang.
func (d *draft) hanging(m *injectors.Mesh) []injectors.Ports {
	if m.Injector.ServerFirst == nil || d.exempt.serverFirst {
		return nil
	}
	var out []injectors.Ports
	for _, n := range d.config.ServerFirstPorts {
		port := uint16(n) //nolint:gosec // validated when loaded
		if m.Capture.TakesPort(port) == injectors.Yes && m.Injector.ServerFirst(d.plan.Target, port) != injectors.Yes {
			out = append(out, injectors.Ports{First: port, Last: port})
		}
	}
	return out
}

// letPass adds ports to the list of that meaning which an annotation of the mesh at i holds: those that are to leave the
// redirect and do not yet.
func (d *draft) letPass(i int, means injectors.Meaning, wanted func(m *injectors.Mesh) []injectors.Ports) {
	m := &d.plan.Meshes[i]
	ports, a := wanted(m), m.Injector.Annotation(means)
	if len(ports) == 0 || a == nil || !d.opportune(m) {
		return
	}
	list, known := m.List(means, d.plan.Target)
	if !known {
		return // it would replace nobody knows what
	}
	value, err := a.AddPorts(list, ports...)
	if err != nil || value == list {
		return
	}
	c := change{annotation: a.Key, value: value}
	plan := d.plan.Exempted(m.Injector, a, value)
	if d.when == Mutating {
		plan = d.after(c)
	}
	if after := plan.Mesh(m.Injector); after != nil && len(wanted(after)) == 0 {
		d.keep(plan, c)
	}
}

// opportune tells whether it is time to add an annotation of the mesh: it will be read, and where the finished pod's is, the pod
// is finished. In hindsight the time was before the mesh's turn.
func (d *draft) opportune(m *injectors.Mesh) bool {
	switch {
	case m.Late && d.when == Mutating && d.plan.Coming && d.plan.Recalled:
		return false
	case d.when == Hindsight && !m.Reads():
		return d.plan.Follows(m.Injector) && m.Settings != nil && m.Settings.ListsKnown()
	}
	return m.Reads()
}

// configured tells whether there is anything to do that the configuration alone asks for.
func (d *draft) configured() bool {
	if len(d.config.ServerFirstPorts) == 0 && !d.config.Remedy(config.WebhookInboundPort) {
		return false
	}
	for i := range d.plan.Meshes {
		if m := &d.plan.Meshes[i]; len(d.hanging(m)) > 0 || len(d.called(m)) > 0 {
			return true
		}
	}
	return false
}
