package mutators

import (
	corev1 "k8s.io/api/core/v1"

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
			for i := range d.plan.Meshes {
				d.hold(&d.plan.Meshes[i])
			}
		},
	}
}

func (d *draft) hold(m *injectors.Mesh) {
	t := d.plan.Target
	if !d.races || !Holdable(d.plan, m) || !m.Coming && !m.Again && !(d.when == Hindsight && d.plan.Follows(m.Injector)) {
		return
	}
	value, present := t.Meta.Annotations[m.Injector.Hold.Key]
	if present && t.Template() {
		return // a key that grows makes every later apply of the same file a rollout
	}
	merged, decided, err := m.Injector.Hold.Merge(value)
	if err != nil || decided {
		return
	}
	d.keep(d.plan.Held(m.Injector), change{annotation: m.Injector.Hold.Key, value: merged})
}

// Holdable tells whether hold can do its work on the pod, and no harm.
func Holdable(p *injectors.Plan, m *injectors.Mesh) bool {
	switch {
	case m.Injector.Hold == nil || m.Native == injectors.Yes || m.Hold == injectors.Yes:
		return false
	case m.Settings != nil && m.Settings.Lifecycle:
		return false
	case !Restarts(p.Target):
		return false
	}
	for _, h := range p.Target.Namespace.Hooks {
		if h.Injector != nil && h.Injector.ReadsFirstContainer != nil && h.Injector.ReadsFirstContainer(p.Target) {
			return false
		}
	}
	return true
}

// Restarts tells whether the kubelet restarts a container of the pod that has ended well. A proxy whose wait runs out ends
// well, and a Job's is then gone for good (istio#45627).
func Restarts(t *injectors.Target) bool {
	return t.Spec.RestartPolicy == "" && !t.Job || t.Spec.RestartPolicy == corev1.RestartPolicyAlways
}
