package injectors

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Istio's annotations and labels, at 1.31 (istio, pkg/kube/inject and the api repository's annotation list).
const (
	istioStatus       = "sidecar.istio.io/status"
	istioInject       = "sidecar.istio.io/inject"
	istioNative       = "sidecar.istio.io/nativeSidecar"
	istioInterception = "sidecar.istio.io/interceptionMode"
	istioTemplates    = "inject.istio.io/templates"
	istioProxyConfig  = "proxy.istio.io/config"
	istioStatusPort   = "status.sidecar.istio.io/port"
	istioTraffic      = "traffic.sidecar.istio.io/"
	istioExcludeCIDRs = istioTraffic + "excludeOutboundIPRanges"
	istioIncludeCIDRs = istioTraffic + "includeOutboundIPRanges"
	istioExcludePorts = istioTraffic + "excludeOutboundPorts"
	istioIncludePorts = istioTraffic + "includeOutboundPorts"

	istioDNSCapture = "ISTIO_META_DNS_CAPTURE"
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
		Owns:        istioOwns,
		Read:        readIstio,
		Marked:      func(t *Target) bool { return t.Annotation(istioStatus) != "" },
		Wants:       istioWants,
		Hold:        &Hold{Key: istioProxyConfig, Merge: mergeIstioHold},
		Annotations: istioAnnotations(),
	}
	i.Observe = func(p *Plan, m *Mesh, installer, proxy *corev1.Container) { istioObserve(p, m, installer, proxy) }
	i.Inject = func(p *Plan, s *Settings) { istioInjects(p, i, s) }
	return i
}

// istioOwns: every entry is called <prefix>sidecar-injector.istio.io, in each revision's and each tag's configuration
// (manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml). Without a prefix the name is that of
// Traffic Director's injector.
func istioOwns(h *Hook) (string, bool) {
	const suffix = ".sidecar-injector.istio.io"
	if !strings.HasSuffix(h.Name, suffix) {
		return "", false
	}
	if rev := h.Labels["istio.io/rev"]; rev != "" {
		return rev, true
	}
	return "default", true
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
	asked, ok := t.Meta.Labels[istioInject]
	if !ok {
		asked = t.Annotation(istioInject)
	}
	switch asked {
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

func matchesAny(selectors []labels.Selector, set map[string]string) bool {
	for _, s := range selectors {
		if s.Matches(labels.Set(set)) {
			return true
		}
	}
	return false
}

// istioObserve reads the capture of an injected pod where it takes effect: the arguments of istio-init, which were
// rendered when the webhook ran; under CNI the final annotations, which the node plugin reads (cni/pkg/plugin/plugin.go).
func istioObserve(p *Plan, m *Mesh, installer, proxy *corev1.Container) {
	c := &m.Capture
	if m.CNI == No {
		istioArguments(c, m, installer.Args)
		c.DNS = captureEnv(installer.Env)
	} else {
		m.Late = true
		// istio-init runs as the proxy's uid under CNI no more than elsewhere: the plugin takes the ids from istio-proxy,
		// and 1337 where they are unset or 0.
		m.ProxyUID, m.ProxyGID = istioID(m.ProxyUID), istioID(m.ProxyGID)
		istioAnnotated(c, p.Target, &Settings{})
	}
	if proxy != nil && captureEnv(proxy.Env) {
		c.DNS = true
	}
	if m.ProxyUID == NoID {
		m.ProxyUID, m.ProxyGID = istioUID, istioUID
	}
	c.UIDs, c.GIDs = []int64{m.ProxyUID}, []int64{m.ProxyGID}
}

func istioID(id int64) int64 {
	if id <= 0 {
		return istioUID
	}
	return id
}

func captureEnv(env []corev1.EnvVar) bool {
	for i := range env {
		if env[i].Name == istioDNSCapture {
			return env[i].Value == "true"
		}
	}
	return false
}

// istioArguments reads the command line of istio-iptables. The gid defaults to the uid; a value that does not parse makes
// istio-init fail, which is not for the plan to say, so it counts as empty.
func istioArguments(c *Capture, m *Mesh, args []string) {
	c.Listed = true
	gid := NoID
	for i := 0; i+1 < len(args); i++ {
		value := args[i+1]
		switch args[i] {
		case "-u":
			m.ProxyUID = parseID(value)
		case "-g":
			gid = parseID(value)
		case "-i":
			c.include(value)
		case "-x":
			c.Exclude, _ = ParseCIDRs(value)
		case "-o":
			c.ExcludePorts, _ = ParsePorts(value)
		case "-q":
			c.IncludePorts, _ = ParsePorts(value)
		default:
			continue
		}
		i++
	}
	if m.ProxyUID == NoID {
		m.ProxyUID = istioUID
	}
	m.ProxyGID = gid
	if gid == NoID {
		m.ProxyGID = m.ProxyUID
	}
}

func parseID(s string) int64 {
	if s == "" {
		return NoID
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return NoID
	}
	return n
}

// include sets the list of captured addresses; "*" is all of them.
func (c *Capture) include(list string) {
	c.Listed = list != "*"
	c.Include = nil
	if c.Listed {
		c.Include, _ = ParseCIDRs(list)
	}
}

// istioAnnotated reads the capture from the pod's annotations; each replaces the mesh's value, nothing is merged.
func istioAnnotated(c *Capture, t *Target, s *Settings) {
	include := annotationOr(t, istioIncludeCIDRs, s.IncludeCIDRs)
	if _, ok := t.Meta.Annotations[istioIncludeCIDRs]; !ok && include == "" {
		include = "*"
	}
	c.include(include)
	c.Exclude, _ = ParseCIDRs(annotationOr(t, istioExcludeCIDRs, s.ExcludeCIDRs))
	c.ExcludePorts, _ = ParsePorts(annotationOr(t, istioExcludePorts, s.ExcludePorts))
	c.IncludePorts, _ = ParsePorts(annotationOr(t, istioIncludePorts, s.IncludePorts))
}

func annotationOr(t *Target, key, otherwise string) string {
	if v, ok := t.Meta.Annotations[key]; ok {
		return v
	}
	return otherwise
}

// istioRedirects tells whether the injection that the pod asks for redirects traffic at all: gateways and proxyless gRPC
// have templates of their own (annotation inject.istio.io/templates), interceptionMode NONE renders no installer.
func istioRedirects(t *Target) Tri {
	if t.Annotation(istioInterception) == "NONE" {
		return No
	}
	templates, ok := t.Meta.Annotations[istioTemplates]
	if !ok {
		return Yes
	}
	answer := No
	for name := range strings.SplitSeq(templates, ",") {
		switch strings.TrimSpace(name) {
		case "sidecar":
			return Yes
		case "gateway", "grpc-agent", "grpc-simple", "waypoint", "kube-gateway":
		default:
			answer = Unknown
		}
	}
	return answer
}

// istioInjects does what one run of the webhook does: render, then reorderPod (pkg/kube/inject/webhook.go):
//
//	native    istio-init or istio-validation first, istio-proxy behind it, then everything else in its order
//	classic   istio-validation first, or istio-init last; istio-proxy the first container where it holds, else the last
func istioInjects(p *Plan, i *Injector, s *Settings) {
	t := p.Target
	redirects := istioRedirects(t)
	if redirects == No {
		return
	}
	if redirects == Unknown {
		p.Doubt("template " + t.Annotation(istioTemplates) + " is not known")
	}
	m := Mesh{Injector: i, CNI: s.CNI, Native: istioWillBeNative(t, s), Hold: No, ProxyUID: istioUID, ProxyGID: istioUID}
	istioAnnotated(&m.Capture, t, s)
	hold, dns := s.Hold, s.DNS
	if value, ok := t.Meta.Annotations[istioProxyConfig]; ok {
		hold, dns = readProxyConfig(value, s)
	}
	m.Capture.DNS = dns == Yes
	if old := p.Mesh(i); old != nil {
		m.CNI, m.ProxyUID, m.ProxyGID = m.CNI.Or(old.CNI), old.ProxyUID, old.ProxyGID
		m.Native = m.Native.Or(old.Native)
		m.Coming = old.Coming
	} else {
		istioIDs(&m, t, s)
	}
	m.Late = m.CNI == Yes
	m.Capture.UIDs, m.Capture.GIDs = []int64{m.ProxyUID}, []int64{m.ProxyGID}
	if m.Native == No && !s.Lifecycle && hold == Yes {
		m.Hold = Yes
	}

	proxy := p.takeOwn(i, Step{Name: "istio-proxy", Role: Proxy, Injector: i})
	proxy.UID, proxy.GID = m.ProxyUID, m.ProxyGID
	first := p.takeOwn(i, Step{Name: "istio-init", Role: Installer, Injector: i, UID: 0, GID: 0})
	if m.CNI == Yes {
		first.Name, first.Role, first.UID, first.GID = "istio-validation", Validator, m.ProxyUID, m.ProxyGID
	}
	proxy.Phase, proxy.Gated = Main, m.Hold == Yes
	if m.Native == Yes {
		proxy.Phase, proxy.Gated = Native, !s.Ungated && t.Annotation(istioStatusPort) != "0"
		p.Add(proxy, true)
	} else {
		p.Add(proxy, m.Hold == Yes)
	}
	p.Add(first, m.Native == Yes || m.CNI == Yes)
	p.set(m)
}

// takeOwn removes the injector's container of that role from the plan (or the user's container of that name, which the
// injection will be merged with) and returns it, or the one given where there is none.
func (p *Plan) takeOwn(i *Injector, made Step) Step {
	for _, list := range [...]*[]Step{&p.Inits, &p.Mains} {
		for k := range *list {
			s := (*list)[k]
			if s.Injector == i && (s.Role == made.Role || s.Role == Validator && made.Role == Installer) || s.Injector == nil && s.Name == made.Name {
				*list = append((*list)[:k], (*list)[k+1:]...)
				s.Injector, s.Role = i, made.Role
				return s
			}
		}
	}
	return made
}

// set puts the mesh into the plan, in the place of what was known of it.
func (p *Plan) set(m Mesh) {
	if old := p.Mesh(m.Injector); old != nil {
		*old = m
		return
	}
	p.Meshes = append(p.Meshes, m)
}

// istioWillBeNative: the annotation decides over the mesh; any value but "false" means native
// (files/injection-template.yaml since 1.27).
func istioWillBeNative(t *Target, s *Settings) Tri {
	if v := t.Annotation(istioNative); v != "" {
		return TriOf(v != "false")
	}
	return s.Native
}

// istioIDs finds the ids that the redirect will let through: on OpenShift the last uid and gid of the namespace's ranges
// (GetProxyIDs, pkg/kube/inject/inject.go). Under TPROXY the proxy runs as root, and istio-init is told 1337 all the same
// (files/injection-template.yaml), as is the node plugin.
func istioIDs(m *Mesh, t *Target, s *Settings) {
	if s.ProxyUID != 0 {
		m.ProxyUID, m.ProxyGID = s.ProxyUID, s.ProxyUID
	}
	if uids, ok := t.Namespace.Annotations["openshift.io/sa.scc.uid-range"]; ok {
		m.ProxyUID = lastOfRange(uids)
		m.ProxyGID = lastOfRange(annotationOf(t.Namespace, "openshift.io/sa.scc.supplemental-groups", uids))
	}
	if t.Annotation(istioInterception) == "TPROXY" {
		m.ProxyUID, m.ProxyGID = istioUID, istioUID
	}
}

func annotationOf(n *Namespace, key, otherwise string) string {
	if v, ok := n.Annotations[key]; ok {
		return v
	}
	return otherwise
}

// lastOfRange reads OpenShift's ranges, written first/size or first-last; the first of a comma separated list counts.
func lastOfRange(value string) int64 {
	value, _, _ = strings.Cut(value, ",")
	if first, size, ok := strings.Cut(value, "/"); ok {
		return parseID(first) + parseID(size) - 1
	}
	if _, last, ok := strings.Cut(value, "-"); ok {
		return parseID(last)
	}
	return NoID
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
		{Key: istioIncludePorts, Means: IncludePorts, Check: ports}, // not validated: breaks istio-init at run time
		{Key: istioTraffic + "includeInboundPorts", Check: portsOrAll, Denied: true},
		{Key: istioTraffic + "excludeInboundPorts", Check: ports, Denied: true},
		{Key: istioProxyConfig, Check: checkProxyConfig, Denied: true},
	}
	for _, key := range [...]string{
		istioStatus, istioInject, istioNative, istioInterception, istioTemplates, istioStatusPort, istioTraffic + "excludeInterfaces",
		istioTraffic + "kubevirtInterfaces", "istio.io/reroute-virtual-interfaces", "proxy.istio.io/overrides", "proxy.istio.io/config",
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
