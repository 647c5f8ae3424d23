package validators

import (
	"net/netip"
	"slices"
	"strconv"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// lateExemption finds exemptions that were added after their value had been rendered.
func lateExemption() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF114", Name: "late-exemption", Severity: report.Warning,
			Title: "An exemption that came too late to have an effect",
			Why: "Where an init container redirects, the mesh's webhook writes the exemptions into that container's arguments. An annotation that a later webhook adds is on " +
				"the pod for all to see, and does nothing.",
			Fix: "Put the annotation on the pod template, or let the webhook that adds it run before the mesh's.",
		},
		check: func(i *inspection) {
			for k := range i.plan.Meshes {
				if m := &i.plan.Meshes[k]; !m.Reads() {
					i.late(m)
				}
			}
		},
	}
}

func (i *inspection) late(m *injectors.Mesh) {
	if a := m.Injector.Annotation(injectors.ExcludeCIDRs); a != nil {
		said, err := a.ReadCIDRs(i.target.Annotation(a.Key))
		if missing := slices.IndexFunc(said, func(p netip.Prefix) bool { return !slices.Contains(m.Capture.Exclude, p) }); err == nil && missing >= 0 {
			i.tooLate(a.Key, said[missing].String(), m)
		}
	}
	if a := m.Injector.Annotation(injectors.ExcludePorts); a != nil {
		said, err := a.ReadPorts(i.target.Annotation(a.Key))
		if missing := slices.IndexFunc(said, func(p injectors.Ports) bool { return !slices.Contains(m.Capture.ExcludePorts, p) }); err == nil && missing >= 0 {
			i.tooLate(a.Key, said[missing].String(), m)
		}
	}
	i.lateUser(m)
}

// lateUser finds a user that the annotation lets pass and the redirect does not. Rules about single ports are left out.
func (i *inspection) lateUser(m *injectors.Mesh) {
	a := m.Injector.Annotation(injectors.ExcludeUIDs)
	if a == nil {
		return
	}
	for _, uid := range a.ReadUIDs(i.target.Annotation(a.Key)) {
		if !m.Capture.LetsUser(uid) {
			i.tooLate(a.Key, "user "+strconv.FormatInt(uid, 10), m)
			return
		}
	}
}

func (i *inspection) tooLate(key, entry string, m *injectors.Mesh) {
	i.find(nil, "annotation "+key+" exempts "+entry+", but "+m.Injector.Title+" had rendered its redirect before it was there: it has no effect.",
		"Put it on the pod template.")
}
