package mutators

import (
	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// hold asks the mesh to start the app only once the proxy serves.
func hold() Remedy {
	return Remedy{
		Name:  config.Hold,
		Title: "The app waits for the proxy: the mesh's own annotation, merged with what the pod says already.",
		Never: "on native sidecars, on pods that do not restart their containers (Jobs), under a lifecycle of the mesh's own, where another injector " +
			"reads the first container, where the pod decides for itself, and on a template whose annotation is there already.",
		act: func(d *draft) {
			for i := 0; i < len(d.plan.Meshes); i++ { // a plan that is kept may have fewer
				d.hold(&d.plan.Meshes[i])
			}
		},
	}
}

func (d *draft) hold(m *injectors.Mesh) {
	t := d.plan.Target
	if !d.races || !d.plan.Holdable(m) || !m.Coming && !m.Again && !(d.when == Hindsight && d.plan.Follows(m.Injector)) {
		return
	}
	value, present := t.Meta.Annotations[m.Injector.Hold.Key]
	merged, decided, err := m.Injector.Hold.Merge(value)
	if err != nil || decided {
		return
	}
	if t.Template() && (present || !d.config.TemplateHold) {
		// A key that grows makes every later apply of the same file a rollout: the pods get hold, the template does not.
		if d.when == Foresight {
			d.plan = d.plan.Held(m.Injector)
			d.look()
		}
		return
	}
	d.keep(d.plan.Held(m.Injector), change{annotation: m.Injector.Hold.Key, value: merged})
}
