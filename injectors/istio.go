package injectors

import (
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// Istio's annotations and labels, at 1.31 (istio, pkg/kube/inject and the api repository's annotation list).
const (
	istioStatus       = "sidecar.istio.io/status"
	istioInject       = "sidecar.istio.io/inject"
	istioRev          = "istio.io/rev"    // a label
	istioInjection    = "istio-injection" // a label of namespaces
	istioDataplane    = "istio.io/dataplane-mode"
	istioNative       = "sidecar.istio.io/nativeSidecar"
	istioInterception = "sidecar.istio.io/interceptionMode"
	istioTemplates    = "inject.istio.io/templates"
	istioBeforeProxy  = "sidecar.istio.io/init-containers-before-proxy"
	istioProxyConfig  = "proxy.istio.io/config"
	istioStatusPort   = "status.sidecar.istio.io/port"
	istioTraffic      = "traffic.sidecar.istio.io/"
	istioExcludeCIDRs = istioTraffic + "excludeOutboundIPRanges"
	istioIncludeCIDRs = istioTraffic + "includeOutboundIPRanges"
	istioExcludePorts = istioTraffic + "excludeOutboundPorts"
	istioIncludePorts = istioTraffic + "includeOutboundPorts"

	istioIncludeIn = istioTraffic + "includeInboundPorts"
	istioExcludeIn = istioTraffic + "excludeInboundPorts"

	istioInterfaces = istioTraffic + "excludeInterfaces"
	istioOverrides  = "proxy.istio.io/overrides"

	// Keys of proxyMetadata, which become environment variables of the proxy and of istio-init.
	istioDNSCapture = "ISTIO_META_DNS_CAPTURE"
	istioGroups     = "ISTIO_OUTBOUND_OWNER_GROUPS"
	istioNoGroups   = "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"
	istioNoEnvoy    = "DISABLE_ENVOY"

	// istioUID is the proxy's uid and gid where nothing says otherwise.
	istioUID = 1337
)

// Istio is the sidecar injector of Istio, of in-cluster and managed Anthos and Cloud Service Mesh (which keep its webhook
// names and point them at URLs), and of Istio's revisions and tags. Pods in ambient mode have no sidecar and no redirect
// that could cut them.
func Istio() *Injector {
	i := &Injector{
		Name:  "istio",
		Title: "Istio",
		Facts: "istio 1.31-alpha (86c9f01fd73); older releases where said",
		Containers: map[string]Role{
			"istio-init":       Installer,
			"istio-validation": Validator,
			"istio-proxy":      Proxy,
			"enable-core-dump": Helper,
		},
		Owns: istioOwns,
		Read: readIstio,
		Reads: Reads{
			Deployments: []string{"app=istiod"}, Environment: []string{"ENABLE_NATIVE_SIDECARS"},
			ConfigMaps: []string{"istio"}, Keys: []string{"mesh", "values", "config"},
		},
		Marked:      istioMarked,
		Wants:       istioWants,
		Asked:       istioAskedFor,
		Muddle:      istioMuddle,
		Decline:     Decline{Key: istioInject, Value: "false", Label: true},
		Rerenders:   true,
		Port:        15017, // manifests/charts/istio-control/istio-discovery/templates/service.yaml
		Native:      istioNative,
		Hold:        &Hold{Key: istioProxyConfig, Merge: mergeIstioHold},
		Annotations: istioAnnotations(),
		ServerFirst: istioServerFirst,
		AppProtocol: "tcp",
		Discovery:   istioDiscovery,
		// What istiod puts into the configurations of its own revision, it writes into this ConfigMap of every namespace, too
		// (pkg/webhooks/webhookpatch.go; pilot/pkg/bootstrap/server.go, istiodCertBundleWatcher).
		CA: CA{ConfigMap: "istio-ca-root-cert", Key: "root-cert.pem", Keeper: "app=istiod"},
	}
	i.Observe = istioObserve
	i.Inject = func(p *Plan, s *Settings) { istioInjects(p, i, s) }
	return i
}

// istioOwns: every entry is called <prefix>sidecar-injector.istio.io, in each revision's and each tag's configuration
// (manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml). Without a prefix the name is that of
// Traffic Director's injector. Entries that istioctl has put to rest, because a tag has taken their place, are nobody's: a label
// that no namespace has selects them.
func istioOwns(h *Hook) (string, bool) {
	const suffix = ".sidecar-injector.istio.io"
	if !strings.HasSuffix(h.Name, suffix) {
		return "", false
	}
	if h.Namespaces != nil {
		if _, rests := h.Namespaces.RequiresExactMatch("istio.io/deactivated"); rests {
			return "", false
		}
	}
	if rev := h.Labels[istioRev]; rev != "" {
		return rev, true
	}
	// What Google has put into a cluster need not be labelled: istiod-asm-managed-rapid.
	if rev, ok := strings.CutPrefix(h.Configuration, "istiod-"); ok && h.Service == "" && istioManaged(rev) {
		return rev, true
	}
	return defaultRevision, true
}

// istioMarked: Traffic Director's injector leaves the same annotation.
func istioMarked(t *Target) bool {
	status := t.Annotation(istioStatus)
	return status != "" && !tdMark(status)
}

// istioWants is injectRequired (pkg/kube/inject/inject.go): the first reason that applies decides.
func istioWants(t *Target, s *Settings) Tri {
	if t.Spec.HostNetwork {
		return No
	}
	switch t.Namespace.Name {
	case "kube-system", "kube-public", "kube-node-lease", "local-path-storage":
		return No
	}
	switch istioAsked(t) {
	case "true":
		return Yes
	case "false":
		return No
	}
	if matchesAny(s.Never, t.Meta.Labels) {
		return No
	}
	if matchesAny(s.Always, t.Meta.Labels) {
		return Yes
	}
	// The default policy is enabled; a mesh whose settings cannot be read is taken for one that keeps it.
	return s.Policy.Or(Yes)
}

// istioAsked is what the pod says about injection: the label goes over the annotation.
func istioAsked(t *Target) string {
	if asked, ok := t.Meta.Labels[istioInject]; ok {
		return asked
	}
	return t.Annotation(istioInject)
}

func matchesAny(selectors []labels.Selector, set map[string]string) bool {
	for _, s := range selectors {
		if s.Matches(labels.Set(set)) {
			return true
		}
	}
	return false
}

func istioAnnotations() []Annotation {
	cidrs := func(v string) error { _, err := ParseCIDRs(v); return err }
	cidrsOrAll := func(v string) error {
		if v == "*" {
			return nil
		}
		return cidrs(v)
	}
	ports := func(v string) error { _, err := ParsePorts(v); return err }
	portsOrAll := func(v string) error {
		if v == "*" {
			return nil
		}
		return ports(v)
	}
	known := []Annotation{
		{Key: istioExcludeCIDRs, Means: ExcludeCIDRs, Check: cidrs, Denied: true},
		{Key: istioIncludeCIDRs, Means: IncludeCIDRs, Check: cidrsOrAll, Denied: true},
		{Key: istioExcludePorts, Means: ExcludePorts, Check: ports, Denied: true},
		{Key: istioIncludePorts, Means: IncludePorts, Check: ports, Breaks: breaksPorts(ParseColonRanges, ParsePortRanges)}, // nobody checks it before istio-init runs
		{Key: istioIncludeIn, Means: IncludeInbound, Check: portsOrAll, Denied: true},
		{Key: istioExcludeIn, Means: ExcludeInbound, Check: ports, Denied: true},
		{Key: istioProxyConfig, Check: checkProxyConfig, Denied: true},
	}
	for _, key := range [...]string{
		istioStatus, istioInject, istioNative, istioBeforeProxy, istioInterception, istioTemplates, istioStatusPort, istioInterfaces,
		istioTraffic + "kubevirtInterfaces", "istio.io/reroute-virtual-interfaces", istioOverrides, "proxy.istio.io/config",
		"sidecar.istio.io/agentLogLevel", "sidecar.istio.io/bootstrapOverride", "sidecar.istio.io/capNetBindService",
		"sidecar.istio.io/componentLogLevel", "sidecar.istio.io/controlPlaneAuthPolicy", "sidecar.istio.io/discoveryAddress",
		"sidecar.istio.io/enableCoreDump", "sidecar.istio.io/extraStatTags", "sidecar.istio.io/logLevel", "sidecar.istio.io/proxyCPU",
		"sidecar.istio.io/proxyCPULimit", "sidecar.istio.io/proxyImage", "sidecar.istio.io/proxyImageType", "sidecar.istio.io/proxyMemory",
		"sidecar.istio.io/proxyMemoryLimit", "sidecar.istio.io/rewriteAppHTTPProbers", "sidecar.istio.io/statsCompression",
		"sidecar.istio.io/statsHistogramBuckets", "sidecar.istio.io/statsInclusionPrefixes", "sidecar.istio.io/statsInclusionRegexps",
		"sidecar.istio.io/statsInclusionSuffixes", "sidecar.istio.io/userVolume", "sidecar.istio.io/userVolumeMount",
		"readiness.status.sidecar.istio.io/applicationPorts", "readiness.status.sidecar.istio.io/failureThreshold",
		"readiness.status.sidecar.istio.io/initialDelaySeconds", "readiness.status.sidecar.istio.io/periodSeconds",
		"istio.io/rev", "istio.io/dataplane-mode", "istio.io/use-waypoint", "istio.io/use-waypoint-namespace",
		"traffic.istio.io/nodeSelector",
	} {
		if key != istioProxyConfig {
			known = append(known, Annotation{Key: key})
		}
	}
	return known
}
