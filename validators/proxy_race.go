package validators

import (
	"slices"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// proxyRace finds apps that may start before their proxy serves.
func proxyRace() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF103", Name: "proxy-race", Severity: report.Info,
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
	severity, fix := i.severity, ""
	if i.plan.Holdable(m) {
		value, decided, err := m.Injector.Hold.Merge(i.target.Annotation(m.Injector.Hold.Key))
		switch {
		case err != nil:
			severity, fix = report.Warning, "Make the annotation "+m.Injector.Hold.Key+" valid YAML or JSON: hold can then be added to it."
		case !decided: // in single quotes: it is JSON
			fix = "Annotate " + i.annotated() + ": " + m.Injector.Hold.Key + ": '" + value + "'"
		}
	}
	for k := range i.plan.Mains {
		if s := &i.plan.Mains[k]; s.Role == injectors.Own && i.plan.Network(s, injectors.Endpoint{}) != injectors.Open {
			i.findAs(severity, s, i.at(s)+" may start before "+m.Injector.Title+"'s proxy serves: its first connections can be refused.", fix)
			return
		}
	}
}

// lostIn tells whether the mesh's proxy is a native sidecar that is one no more: what is wrong then is not a race.
func (i *inspection) lostIn(m *injectors.Mesh) bool {
	return slices.ContainsFunc(i.plan.Inits, func(s injectors.Step) bool { return s.Injector == m.Injector && s.LostSidecar() })
}
