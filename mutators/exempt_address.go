package mutators

import (
	"net/netip"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// exemptAddress exempts the dialer's destination from the redirect, by address.
func exemptAddress() Remedy {
	return Remedy{
		Name:  config.ExemptAddress,
		Title: "The dialer's destination leaves the redirect: a Service's ClusterIP, a literal address, or the configured ranges.",
		Never: "where nobody will read the annotation any more, where the destination's address is not known, where its name could not be resolved all the same, and on values that do not parse.",
		act: func(d *draft) {
			for i := 0; i < len(d.plan.Inits); i++ { // a plan that is kept may be shorter
				d.exemptDialer(i, injectors.ExcludeCIDRs, d.addresses)
			}
		},
	}
}

// entries returns a list with what one dialer needs in it; ok is false where it cannot tell.
type entries func(s *injectors.Step, a *injectors.Annotation, list string) (with string, ok bool)

// exemptDialer adds what one dialer needs to the list that an annotation of its mesh holds.
func (d *draft) exemptDialer(i int, means injectors.Meaning, with entries) {
	s := &d.plan.Inits[i]
	if !d.needy(d.plan, s) {
		return
	}
	to, _, _ := d.plan.Late(s)
	m := d.plan.Blocks(s, to).Mesh
	if m == nil || d.secondPass(i, m) || !d.readable(m) && !d.wasReadable(s, m) {
		return
	}
	a := m.Injector.Annotation(means)
	if a == nil {
		return
	}
	list, known := m.List(means, d.plan.Target)
	if !known {
		return // it would replace nobody knows what
	}
	value, ok := with(s, a, list)
	if !ok || value == list || !d.try() {
		return
	}
	c := change{annotation: a.Key, value: value}
	var plan *injectors.Plan
	if d.readable(m) && !d.imagined {
		plan = d.after(c)
	} else {
		plan = d.plan.Exempted(m.Injector, a, value)
	}
	// What is exempt for one makes it less certain that others are cut whose destination is not known: that cures nobody.
	if d.count(plan) < d.late && !d.needsStill(plan, s.Name) {
		d.keep(plan, c)
	}
}

// needsStill tells whether the dialer of that name is not cured in the plan.
func (d *draft) needsStill(p *injectors.Plan, name string) bool {
	for i := range p.Inits {
		if p.Inits[i].Name == name && d.needy(p, &p.Inits[i]) {
			return true
		}
	}
	return false
}

// wasReadable tells whether the mesh would have read an annotation that we add on the first pass: it is called after us, and what
// it and the dialer's injector would do to the pod was known by then. Where the second pass cures, it has done so by now.
func (d *draft) wasReadable(s *injectors.Step, m *injectors.Mesh) bool {
	if d.when != Hindsight || !d.plan.Certain() || !d.plan.Follows(m.Injector) || m.Settings == nil || !m.Settings.ListsKnown() {
		return false
	}
	switch i := s.Injector; {
	case i == nil:
		return true
	case m.CNI != injectors.Yes && i.First != nil && d.config.Remedy(config.StartFirst) && d.wouldLead(i): // start-first goes before
		return false
	default:
		return d.plan.Follows(i)
	}
}

// readable tells whether an annotation that is added now has an effect. On an unfinished pod that takes certainty about the
// mode of the mesh.
func (d *draft) readable(m *injectors.Mesh) bool {
	if d.plan.Coming && !d.plan.Certain() {
		return false
	}
	return m.Reads()
}

// addresses returns the list with the dialer's destinations in it.
func (d *draft) addresses(s *injectors.Step, a *injectors.Annotation, list string) (string, bool) {
	var more []netip.Prefix
	for _, to := range s.To {
		for _, addr := range to.Addrs {
			more = append(more, netip.PrefixFrom(addr, addr.BitLen()))
		}
		if len(to.Addrs) == 0 && s.Injector != nil {
			more = append(more, d.config.Ranges(s.Injector.Name)...)
		}
	}
	if len(more) == 0 {
		return "", false
	}
	value, err := a.AddCIDRs(list, more...)
	return value, err == nil
}
