package validators

import (
	"slices"
	"strings"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// controlPlaneInjected finds meshes that redirect pods where a mesh's control plane runs, or the cluster's own.
func controlPlaneInjected() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF133", Name: "control-plane-injected", Severity: report.Warning,
			Title: "A mesh redirects pods of a control plane's namespace",
			Why: "A proxy gets its configuration from its control plane. Where the control plane's own pods, or those of the cluster, wait for proxies, they start only while it " +
				"runs already: after an outage of all of them nothing comes back by itself.",
			Fix: "Take the namespace out of injection, or decline it on the pods; for Istio: kubectl label --overwrite namespace istio-system istio-injection=disabled.",
		},
		check: func(i *inspection) {
			if len(i.plan.Meshes) == 0 {
				return
			}
			where := i.livesHere()
			if where == "" {
				return
			}
			for k := range i.plan.Meshes {
				m := &i.plan.Meshes[k]
				if redirects(m) && (i.system() || i.called(m.Injector)) {
					i.controls(m.Injector, where)
				}
			}
		},
	}
}

func (i *inspection) controls(mesh *injectors.Injector, where string) {
	fix := i.decline(mesh)
	if fix == "" {
		fix = "Take the namespace out of " + mesh.Title + "'s injection."
	}
	i.find(nil, mesh.Title+" redirects a pod of namespace "+i.target.Namespace.Name+", "+where+" must not wait for a proxy to start.", fix)
}

// system tells whether the namespace is one of the cluster's own.
func (i *inspection) system() bool {
	switch i.target.Namespace.Name {
	case "kube-system", "kube-public", "kube-node-lease":
		return true
	}
	return false
}

// livesHere says what lives in the namespace; "" where that is nothing of the kind. A mesh lives where the Service of its webhook
// is. Other injectors do not count: a secret store in the mesh is in good order.
func (i *inspection) livesHere() string {
	if i.system() {
		return "which is the cluster's own: what it needs"
	}
	n := i.target.Namespace
	for _, h := range n.Registered {
		namespace, _, _ := strings.Cut(h.Service, "/")
		if namespace == n.Name && h.Injector != nil && h.Injector.Observe != nil {
			return "where " + h.Injector.Title + "'s control plane runs: what that needs"
		}
	}
	return ""
}

// called tells whether a webhook of the injector is called for the pod, or may be: what is injected otherwise is injected on
// purpose, as a control plane's own manifests do.
func (i *inspection) called(injector *injectors.Injector) bool {
	return slices.ContainsFunc(i.target.Namespace.Hooks, func(h *injectors.Hook) bool {
		return h.Injector == injector && h.Matches(i.target.Meta.Labels) != injectors.No
	})
}
