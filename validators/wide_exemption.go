package validators

import (
	"strings"

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
					if p.Bits() == 0 {
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

func (i *inspection) wide(m *injectors.Mesh, means injectors.Meaning, what string) {
	where := "the mesh's settings"
	if a := m.Injector.Annotation(means); a != nil {
		if _, ok := i.target.Meta.Annotations[a.Key]; ok {
			where = "annotation " + a.Key
		}
	}
	message := where + " takes " + what + " out of the mesh, for every container of the pod."
	fix := "Exempt only the addresses that are needed."
	for k := range i.plan.Inits {
		if s := &i.plan.Inits[k]; s.Role == injectors.Dialer && len(s.To) > 0 && len(s.To[0].Addrs) > 0 {
			fix = "Exempt only what is needed: " + s.To[0].Addrs[0].String() + "/" + bits(s.To[0].Addrs[0].Is4())
			break
		}
	}
	i.find(nil, strings.ToUpper(message[:1])+message[1:], fix)
}

func bits(v4 bool) string {
	if v4 {
		return "32"
	}
	return "128"
}
