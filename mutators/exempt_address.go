package mutators

import (
	"net/netip"
	"slices"
	"strings"

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
			for i := range d.plan.Inits {
				d.exemptDialer(i, injectors.ExcludeCIDRs, d.addresses)
			}
		},
	}
}

// exemptDialer adds what one dialer needs to the list that an annotation of its mesh holds.
func (d *draft) exemptDialer(i int, means injectors.Meaning, entries func(s *injectors.Step, list string) (string, bool)) {
	s := &d.plan.Inits[i]
	to, late, _ := d.plan.Late(s)
	if !late || !d.needy(d.plan, s) {
		return
	}
	m := d.plan.Blocks(s, to).Mesh
	if m == nil || d.secondPass(m) || !d.readable(m) {
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
	value, ok := entries(s, list)
	if !ok || value == list {
		return
	}
	c := change{annotation: a.Key, value: value}
	if plan := d.after(c); d.count(plan) < d.late {
		d.keep(plan, c)
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

// addresses returns the list with the dialer's destinations in it, canonical: sorted, each once, no spaces.
func (d *draft) addresses(s *injectors.Step, list string) (string, bool) {
	all, err := injectors.ParseCIDRs(list)
	if err != nil {
		return "", false
	}
	before := len(all)
	for _, to := range s.To {
		for _, a := range to.Addrs {
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
		}
		if len(to.Addrs) == 0 && s.Injector != nil {
			all = append(all, d.config.Ranges(s.Injector.Name)...)
		}
	}
	if len(all) == before {
		return "", false
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	all = slices.Compact(all)
	out := make([]string, len(all))
	for i, p := range all {
		out[i] = p.String()
	}
	return strings.Join(out, ","), true
}
