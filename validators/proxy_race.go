package validators

import (
	"slices"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// proxyRace finds apps that may start before their proxy serves.
func proxyRace() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF103", Name: "proxy-race", Severity: report.Info, Otherwise: "warning where hold is wanted and cannot be added",
			Title: "The app may start before the proxy",
			Why: "App and proxy are started one right after the other. Until the proxy serves, the app's connections are refused: its first calls to a database or a " +
				"cache fail, and it must retry or crash.",
			Fix: "Hold the app until the proxy is up (Istio: holdApplicationUntilProxyStarts: true in the annotation proxy.istio.io/config), or use native sidecars.",
		},
		check: func(i *inspection) {
			for k := range i.plan.Meshes {
				m := &i.plan.Meshes[k]
				if m.Native == injectors.No && m.Hold == injectors.No && !i.lostIn(m) {
					i.race(m)
				}
			}
		},
	}
}

func (i *inspection) race(m *injectors.Mesh) {
	severity, fix := i.advised(m)
	for k := range i.plan.Mains {
		if s := &i.plan.Mains[k]; s.Users() && i.plan.Network(s, injectors.Endpoint{}) != injectors.Open {
			i.findAs(severity, s, i.at(s)+" may start before "+m.Injector.Title+"'s proxy: its first connections can be refused.", fix)
			return
		}
	}
}

// advised says how bad the race is, and what to do. Where hold is wanted and cannot be added it takes a person.
func (i *inspection) advised(m *injectors.Mesh) (report.Severity, string) {
	if m.Injector.Hold == nil {
		if m.Injector.Native == "" {
			return i.severity, "Let the app retry: this mesh has no way to hold it back."
		}
		return i.severity, i.annotate(m.Injector.Native, "true")
	}
	value, decided, err := m.Injector.Hold.Merge(i.target.Annotation(m.Injector.Hold.Key))
	switch wanted := i.config.Remedy(config.Hold) && i.target.Restarts(); {
	case err != nil:
		return report.Warning, "Make the annotation " + m.Injector.Hold.Key + " valid YAML or JSON: hold can then be added to it."
	case decided:
		return i.severity, ""
	case !i.plan.Holdable(m) && wanted:
		return report.Warning, i.orNative(m, "Hold would do harm or nothing here; let the app retry")
	case !i.plan.Holdable(m):
		return i.severity, ""
	case i.tooLateToHold(m) && wanted:
		return report.Warning, "Let Holdfast's webhook sort before " + m.Injector.Title + "'s, or annotate what makes the pod: " + m.Injector.Hold.Key + ": '" + value + "'"
	}
	// In single quotes: it is JSON.
	return i.severity, "Annotate " + i.annotated() + ": " + m.Injector.Hold.Key + ": '" + value + "'"
}

// tooLateToHold tells that Holdfast is called when the mesh's webhook has run for good.
func (i *inspection) tooLateToHold(m *injectors.Mesh) bool {
	called := injectors.Self(i.target.Namespace.Hooks) >= 0
	return called && !m.Coming && !m.Again && !i.plan.Follows(m.Injector)
}

// lostIn tells whether the mesh's proxy is a native sidecar that is one no more: what is wrong then is not a race.
func (i *inspection) lostIn(m *injectors.Mesh) bool {
	return slices.ContainsFunc(i.plan.Inits, func(s injectors.Step) bool { return s.Injector == m.Injector && s.LostSidecar() })
}
