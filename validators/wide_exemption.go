package validators

import (
	"net/netip"
	"slices"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// wideExemption finds exemptions that take most of the pod's traffic out of the mesh.
func wideExemption() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF115", Name: "wide-exemption", Severity: report.Warning,
			Title: "An exemption that takes far more out of the mesh than it needs",
			Why: "An exemption holds for the app as well: what it names leaves the pod without mTLS, policy or telemetry. Everything (0.0.0.0/0), or the ports 80 and " +
				"443, is most of what an app does.",
			Fix: "Exempt the one address that is needed.",
		},
		check: func(i *inspection) {
			for k := range i.plan.Meshes {
				m := &i.plan.Meshes[k]
				for _, p := range m.Capture.Exclude {
					if p.Bits() == 0 || i.wider(m, p) {
						i.wide(m, injectors.ExcludeCIDRs, p.String())
					}
				}
				for _, p := range m.Capture.ExcludePorts {
					if p.Contains(80) || p.Contains(443) {
						i.wide(m, injectors.ExcludePorts, "port "+p.String())
					}
				}
			}
		},
	}
}

// wider tells whether the pod itself exempts a range for the sake of one address in it, to which a container connects that is
// known to need the network. A range that the configuration names is what that container needs.
func (i *inspection) wider(m *injectors.Mesh, p netip.Prefix) bool {
	a := m.Injector.Annotation(injectors.ExcludeCIDRs)
	if a == nil || p.IsSingleIP() {
		return false
	}
	if _, own := i.target.Meta.Annotations[a.Key]; !own {
		return false
	}
	for k := range i.plan.Inits {
		s := &i.plan.Inits[k]
		if s.Role != injectors.Dialer || s.Injector != nil && slices.Contains(i.config.Ranges(s.Injector.Name), p) {
			continue
		}
		for _, to := range s.To {
			if slices.ContainsFunc(to.Addrs, p.Contains) {
				return true
			}
		}
	}
	return false
}

func (i *inspection) wide(m *injectors.Mesh, means injectors.Meaning, what string) {
	by, fix := "the mesh's own list", "Exempt only the addresses that are needed."
	if m.Injector.Annotation(injectors.ExcludeCIDRs) == nil {
		fix = "Exempt only the ports that are needed."
	}
	if a := m.Injector.Annotation(means); a != nil {
		if _, ok := i.target.Meta.Annotations[a.Key]; ok {
			by = "annotation " + a.Key
		}
	}
	for k := range i.plan.Inits {
		s := &i.plan.Inits[k]
		if a := m.Injector.Annotation(injectors.ExcludeCIDRs); a != nil && s.Role == injectors.Dialer && len(s.To) > 0 && len(s.To[0].Addrs) > 0 {
			addr := s.To[0].Addrs[0]
			fix = "Exempt only what is needed: " + a.Key + `: "` + netip.PrefixFrom(addr, addr.BitLen()).String() + `"`
			break
		}
	}
	i.find(nil, by+" lets "+what+" bypass the mesh, for every container of the pod.", fix)
}
