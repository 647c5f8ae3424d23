package validators

import (
	"net/netip"
	"slices"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// twoMeshes finds pods that more than one mesh redirects.
func twoMeshes() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF105", Name: "two-meshes", Severity: report.Error, Otherwise: "warning where either proxy may reach its control plane",
			Title: "Two meshes redirect the same pod",
			Why: "Both write their rules into the pod's one network. Where neither lets the other's proxy pass, what either proxy sends ends at the other: no proxy ever reaches " +
				"its control plane, and the pod never becomes ready. Otherwise (two proxies that run under the same ids, an exempt port) one of them gets the traffic and the other " +
				"none, or each the other's, by the order of the rules: a warning.",
			Fix: "Leave one of the two out, with the label or annotation that declines its injection; take it out of the namespace where the whole namespace asks for both.",
		},
		check: func(i *inspection) {
			var first *injectors.Mesh
			for k := range i.plan.Meshes {
				m := &i.plan.Meshes[k]
				switch {
				case !redirects(m):
				case first == nil:
					first = m
				default:
					i.both(first, m)
				}
			}
		},
	}
}

// redirects tells whether the mesh takes anything of what the pod sends; a node plugin may have passed the pod over.
func redirects(m *injectors.Mesh) bool {
	anybody := injectors.Step{UID: injectors.NoID, GID: injectors.NoID}
	return m.Takes(&anybody, injectors.Endpoint{}) != injectors.No
}

func (i *inspection) both(a, b *injectors.Mesh) {
	message := i.redirector(a) + " and " + i.redirector(b) + " both redirect the pod: "
	if i.shuts(a, b) && i.shuts(b, a) {
		i.find(nil, message+"what either proxy sends ends at the other, neither reaches its control plane.", i.leaveOut(a, b))
		return
	}
	i.findAs(report.Warning, nil, message+"which proxy gets which traffic depends on the order of their rules.", i.leaveOut(a, b))
}

// shuts tells whether the mesh certainly takes what the other's proxy sends to its control plane.
func (i *inspection) shuts(m, other *injectors.Mesh) bool {
	proxy := injectors.Step{UID: other.ProxyUID, GID: other.ProxyGID}
	beyond := func(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() } // 169.254.169.254 is nobody's control plane
	if m.CNI == injectors.Unknown || proxy.UID == injectors.NoID || m.Capture.Listed || slices.ContainsFunc(m.Capture.Exclude, beyond) {
		return false
	}
	to := i.controlPlane(other)
	if len(m.Capture.ExcludePorts) > 0 && !to.Known() {
		return false // one of them may be its control plane's
	}
	return m.Takes(&proxy, to) == injectors.Yes
}

// controlPlane is where the mesh's proxy gets its configuration from; zero where that is not known.
func (i *inspection) controlPlane(m *injectors.Mesh) injectors.Endpoint {
	if m.Injector.Discovery == nil {
		return injectors.Endpoint{}
	}
	said, want := m.Injector.Discovery(i.target, m.Settings.OrUnknown())
	if said == "" {
		said = want
	}
	to, err := injectors.ParseHostPort(said)
	if err != nil {
		return injectors.Endpoint{}
	}
	return to
}

// redirector is what redirects for a mesh: "istio-init" (initContainers[1]), or Istio's CNI plugin.
func (i *inspection) redirector(m *injectors.Mesh) string {
	for k := range i.plan.Inits {
		if s := &i.plan.Inits[k]; s.Injector == m.Injector && s.Role == injectors.Installer {
			return i.at(s)
		}
	}
	return m.Injector.Title + "'s CNI plugin"
}

// leaveOut is the line that takes the pod out of one of two meshes: of the one that nobody asked for, if that is one of them.
func (i *inspection) leaveOut(a, b *injectors.Mesh) string {
	out := b
	if b.Injector.Decline.Key == "" || i.asks(b.Injector) && !i.asks(a.Injector) && a.Injector.Decline.Key != "" {
		out = a
	}
	if fix := i.decline(out.Injector); fix != "" {
		return fix
	}
	return "Leave the pod out of " + a.Injector.Title + " or of " + b.Injector.Title + "."
}

// decline is the line that declines an injection; "" where there is none.
func (i *inspection) decline(injector *injectors.Injector) string {
	switch d := &injector.Decline; {
	case d.Key == "":
		return ""
	case d.Label:
		return "Label " + i.annotated() + ": " + d.Key + `: "` + d.Value + `"`
	default:
		return i.annotate(d.Key, d.Value)
	}
}

// asks tells whether somebody asked for the injection.
func (i *inspection) asks(injector *injectors.Injector) bool {
	return injector.Asked != nil && injector.Asked(i.target) == injectors.Yes
}
