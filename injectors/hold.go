package injectors

import corev1 "k8s.io/api/core/v1"

// Restarts tells whether the kubelet restarts a container of the pod that has ended well. A proxy whose wait for itself runs
// out ends well, and where nobody starts it again it is gone for good (istio#45627).
func (t *Target) Restarts() bool {
	return t.Spec.RestartPolicy == "" && !t.Job || t.Spec.RestartPolicy == corev1.RestartPolicyAlways
}

// Holdable tells whether hold can do its work on the pod, and no harm: a native sidecar does not need it, a lifecycle of the
// mesh's or the pod's own replaces it, a proxy that is not restarted makes it a trap, and an injector that reads the first container
// would find the proxy there.
func (p *Plan) Holdable(m *Mesh) bool {
	switch {
	case m.Injector.Hold == nil || m.Native == Yes || m.Hold == Yes:
		return false
	case m.Settings != nil && m.Settings.Lifecycle:
		return false
	case !p.Target.Restarts() || p.hooked(m.Injector):
		return false
	}
	for _, i := range p.Env.Catalogue.All {
		if i.ReadsFirstContainer != nil && i.ReadsFirstContainer(p.Target) {
			return false
		}
	}
	return true
}

// hooked tells whether the pod gives the mesh's proxy a postStart hook of its own, which would replace the one that waits.
func (p *Plan) hooked(i *Injector) bool {
	containers := p.Target.Spec.Containers
	for k := range containers {
		if c := &containers[k]; c.Lifecycle != nil && c.Lifecycle.PostStart != nil && i.Containers[c.Name] == Proxy {
			return true
		}
	}
	return false
}
