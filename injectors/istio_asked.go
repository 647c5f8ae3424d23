package injectors

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// istioAskedFor is what the pod's labels and annotation say about injection, else its namespace's labels. Whether the webhooks'
// selectors let that have an effect is another matter (istioMuddle).
func istioAskedFor(t *Target) Tri {
	switch istioAsked(t) {
	case "true":
		return Yes
	case "false":
		return No
	}
	switch t.Namespace.Labels[istioInjection] {
	case "disabled":
		return No
	case "enabled":
		if tdRegistered(t) && !istioRegistered(t) {
			return Unknown // Traffic Director's injector goes by the same label
		}
		return Yes
	}
	if t.Meta.Labels[istioRev] != "" || t.Namespace.Labels[istioRev] != "" {
		return Yes
	}
	return Unknown
}

// istioRegistered tells whether a webhook of Istio's is called in the pod's namespace.
func istioRegistered(t *Target) bool {
	return slices.ContainsFunc(t.Namespace.Hooks, func(h *Hook) bool { _, ok := istioOwns(h); return ok })
}

// istioMuddle reads the selectors of Istio's webhooks the other way round (manifests/charts/istio-control/istio-discovery/templates/
// mutatingwebhook.yaml):
//
//	namespace                       called for
//	istio-injection=enabled         all pods but those labelled sidecar.istio.io/inject=false; no istio.io/rev counts
//	istio-injection, another value  none
//	istio.io/rev                    the same pods, by that revision; the pod's own istio.io/rev does not count
//	neither                         pods labelled sidecar.istio.io/inject=true or istio.io/rev
func istioMuddle(t *Target) []Muddle {
	injection, labelled := t.Namespace.Labels[istioInjection]
	revision, revised := t.Namespace.Labels[istioRev]
	namespace := "namespace " + t.Namespace.Name
	if asked := istioAsked(t); asked == "false" {
		return nil // whatever else is said, nothing is injected
	}
	var out []Muddle
	// Where the pod asks for itself, there is a way that leaves the namespace's other pods alone.
	if labelled && injection != "enabled" && injection != "disabled" && t.Meta.Labels[istioInject] != "true" {
		out = append(out, Muddle{
			What: "label " + istioInjection + "=" + injection + " on " + namespace + " is neither enabled nor disabled: nothing is injected",
			Fix:  "kubectl label --overwrite " + namespace + " " + istioInjection + "=enabled",
			Away: true,
		})
	}
	if injection == "enabled" && revised {
		out = append(out, Muddle{
			What: "labels " + istioInjection + "=enabled and " + istioRev + "=" + revision + " are on " + namespace + ": the revision does not count",
			Fix:  "kubectl label " + namespace + " " + istioInjection + "- # or " + istioRev + "-",
			Away: true,
		})
	}
	out = append(out, istioMuddledPod(t, labelled, revised)...)
	if m, ok := istioMuddledAmbient(t, injection == "enabled" || revised && !labelled); ok {
		out = append(out, m)
	}
	return out
}

// istioMuddledPod finds what the pod says for nothing.
func istioMuddledPod(t *Target, labelled, revised bool) []Muddle {
	injection := t.Namespace.Labels[istioInjection]
	var out []Muddle
	label, onPod := t.Meta.Labels[istioInject]
	if label == "true" && labelled && injection != "enabled" {
		out = append(out, Muddle{
			What: "label " + istioInject + "=true on the pod has no effect: " + istioInjection + "=" + injection + " on namespace " + t.Namespace.Name + " keeps every webhook away",
			Fix:  "kubectl label namespace " + t.Namespace.Name + " " + istioInjection + "-",
			Away: true,
		})
	}
	rev := t.Meta.Labels[istioRev]
	if rev != "" && (labelled || revised) && rev != t.Namespace.Labels[istioRev] {
		by := istioInjection + "=" + injection
		if !labelled {
			by = istioRev + "=" + t.Namespace.Labels[istioRev]
		}
		out = append(out, Muddle{
			What: "label " + istioRev + "=" + rev + " on the pod has no effect: " + by + " on namespace " + t.Namespace.Name + " goes over it",
			Fix:  "Remove it, or take the namespace's label away.",
			Away: labelled && injection != "enabled",
		})
	}
	if !onPod && !labelled && !revised && rev == "" && t.Annotation(istioInject) == "true" {
		out = append(out, istioMuddledAnnotation(t)...)
	}
	return out
}

// istioMuddledAnnotation: an annotation selects no webhook. Where a label would not either, it is not the reason.
func istioMuddledAnnotation(t *Target) []Muddle {
	if !istioTakesLabel(t) {
		return nil
	}
	return []Muddle{{
		What: "annotation " + istioInject + "=true selects no webhook: nothing is injected",
		Fix:  "Make it a label: " + istioInject + `: "true"`,
		Away: true,
	}}
}

// istioTakesLabel tells whether a webhook would be called for the pod if it had the label: where only revisions with names are
// installed, none is.
func istioTakesLabel(t *Target) bool {
	labelled := maps.Clone(t.Meta.Labels)
	if labelled == nil {
		labelled = map[string]string{}
	}
	labelled[istioInject] = "true"
	others := false
	for _, h := range t.Namespace.Registered {
		if _, its := istioOwns(h); !its {
			continue
		}
		if h.Namespaces.Matches(labels.Set(t.Namespace.Labels)) && h.Matches(labelled) != No {
			return true
		}
		others = true
	}
	return !others
}

// istioMuddledAmbient: a pod with a sidecar is not captured by the node's proxy (cni/pkg/util/podutil.go, PodRedirectionEnabled).
func istioMuddledAmbient(t *Target, injected bool) (Muddle, bool) {
	mode, where := t.Meta.Labels[istioDataplane], "the pod"
	if mode == "" {
		mode, where = t.Namespace.Labels[istioDataplane], "namespace "+t.Namespace.Name
	}
	_, labelled := t.Namespace.Labels[istioInjection]
	injected = injected || !labelled && (t.Meta.Labels[istioInject] == "true" || t.Meta.Labels[istioRev] != "")
	if mode != "ambient" || !injected {
		return Muddle{}, false
	}
	return Muddle{
		What: "label " + istioDataplane + "=ambient on " + where + " has no effect: the pod gets a sidecar",
		Fix:  "Label the pod " + istioInject + `: "false" for ambient, or ` + istioDataplane + ": none for the sidecar.",
	}, true
}

// istioServerFirst: connections to the ports of SMTP, DNS, MySQL and MongoDB are passed on unseen (pkg/config/kube/conversion.go).
// On others Istio waits for the client's first bytes where the Service does not say which protocol it is, which is not known here.
func istioServerFirst(_ *Target, port uint16) Tri {
	switch port {
	case 25, 53, 3306, 27017:
		return Yes
	}
	return Unknown
}

// istioDiscovery: the pod's own configuration of its proxy, or of an injected one the variable that it was rendered into, and the
// mesh's; where that says nothing, the Service that the webhook calls is the control plane's. Nothing is known of one outside the
// cluster.
func istioDiscovery(t *Target, s *Settings) (said, want string) {
	if s != nil {
		want = s.Discovery
	}
	value, ok := t.Meta.Annotations[istioProxyConfig]
	if !ok && istioMarked(t) {
		value = istioRenderedConfig(t)
	}
	if value == "" || !strings.Contains(value, "iscovery") { // nearly every pod
		return "", want
	}
	c, err := parseProxyConfig(value)
	if err != nil || c.address == "" {
		return "", want
	}
	if want == "" {
		want = istioServed(t)
	}
	if want != "" && istioAddress(c.address) == istioAddress(want) {
		return want, want
	}
	return c.address, want
}

// istioAddress is the canonical form of a Service's address.
func istioAddress(address string) string {
	host, port, _ := strings.Cut(address, ":")
	return strings.TrimSuffix(hostname(host), ".cluster.local") + ":" + port
}

// istioServed is the address behind the first webhook that is called for the pod.
func istioServed(t *Target) string {
	for _, h := range t.Namespace.Hooks {
		if _, ok := istioOwns(h); ok && h.Service != "" && h.Matches(t.Meta.Labels) != No {
			namespace, name, _ := strings.Cut(h.Service, "/")
			return name + "." + namespace + ".svc:15012"
		}
	}
	return ""
}

// istioRenderedConfig is the configuration of an injected pod's proxy, as far as it is not the default.
func istioRenderedConfig(t *Target) string {
	for i := range t.Spec.Containers {
		if t.Spec.Containers[i].Name == "istio-proxy" {
			return envOr(t.Spec.Containers[i].Env, "PROXY_CONFIG", "")
		}
	}
	for i := range t.Spec.InitContainers {
		if t.Spec.InitContainers[i].Name == "istio-proxy" {
			return envOr(t.Spec.InitContainers[i].Env, "PROXY_CONFIG", "")
		}
	}
	return ""
}
