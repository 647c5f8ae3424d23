package injectors

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// App Mesh's annotations and labels (aws-app-mesh-controller-for-k8s, pkg/inject/constants.go at a70b6fc).
const (
	appMeshDomain = "appmesh.k8s.aws/"
	// appMeshInject is a label on namespaces, which selects the webhook, and an annotation on pods.
	appMeshInject      = appMeshDomain + "sidecarInjectorWebhook"
	appMeshCNI         = appMeshDomain + "appmeshCNI"
	appMeshIgnoredIPs  = appMeshDomain + "egressIgnoredIPs"
	appMeshIgnoredPort = appMeshDomain + "egressIgnoredPorts"
	appMeshIgnoredUID  = appMeshDomain + "ignoredUID"
	appMeshIgnoredGID  = appMeshDomain + "ignoredGID"
	appMeshEgressPort  = appMeshDomain + "proxyEgressPort"
	appMeshPorts       = appMeshDomain + "ports"

	// fargateProfile is the label of a pod that runs on Fargate, whose nodes have App Mesh's plugin.
	fargateProfile = "eks.amazonaws.com/fargate-profile"

	appMeshInit, appMeshProxy = "proxyinit", "envoy"

	appMeshUID = 1337 // of the proxy

	appMeshEnabled = "enabled"
)

// AppMesh is the controller of AWS App Mesh, which AWS has supported until 2026-09-30.
//
// A pod exempts ports by an annotation, and nothing else: addresses are the controller's flag --ignored-ips, which the webhook
// writes over what a pod on Fargate says (pkg/inject/proxy.go, cni_proxy.go).
//
// Not verified: what Fargate's plugin, whose source is not public, reads when it starts a pod. It is taken to make the redirect
// that proxyinit makes, from the annotations that the webhook wrote; that later ones count is not relied on.
func AppMesh() *Injector {
	i := &Injector{
		Name:  "appmesh",
		Title: "AWS App Mesh",
		Facts: "aws-app-mesh-controller-for-k8s 1.13.3 (support ended 2026-09-30); its route manager's script from published copies",
		Containers: map[string]Role{
			appMeshInit:            Installer,
			"inject-jaeger-config": Helper,
		},
		Common: map[string]Role{
			appMeshProxy:  Proxy,
			"xray-daemon": Helper,
		},
		// The entry has this name in the chart and in the manifests (stable/appmesh-controller/templates/webhook.yaml).
		Owns: func(h *Hook) (string, bool) { return "", h.Name == "mpod.appmesh.k8s.aws" },
		Read: readAppMesh,
		Reads: Reads{
			Deployments: []string{nameLabel + "=" + appMeshController},
			Flags:       []string{appMeshFlagHold, appMeshFlagIPs},
		},
		Marked:      func(t *Target) bool { return t.Annotation(appMeshEgressPort) != "" || appMeshInstalls(t) },
		Wants:       appMeshWants,
		Asked:       appMeshAsked,
		Muddle:      appMeshMuddle,
		Decline:     Decline{Key: appMeshInject, Value: "disabled"},
		Annotations: appMeshAnnotations(),
		Gateway:     appMeshGateway,
	}
	i.Inject = func(p *Plan, s *Settings) { appMeshInjects(p, i, s) }
	i.Observe = appMeshObserve
	return i
}

const (
	appMeshController = "appmesh-controller"

	appMeshFlagHold = "wait-until-proxy-ready"
	appMeshFlagIPs  = "ignored-ips"
)

// readAppMesh takes the controller's flags (pkg/inject/config.go). The port that is always exempt is no flag.
func readAppMesh(src *Sources, _ string) *Settings {
	s := &Settings{Missing: src.Missing, ExcludePorts: "22", Native: No}
	d, ok := src.DeploymentLabelled(map[string]string{nameLabel: appMeshController})
	if !ok {
		s.missing("no Deployment labelled %s=%s", nameLabel, appMeshController)
		return s
	}
	s.Hold = TriOf(truthy(d.Flags[appMeshFlagHold], false))
	s.HoldFixed = s.Hold == Yes
	s.Lists, s.ExcludeCIDRs = true, "169.254.169.254"
	if list, ok := d.Flags[appMeshFlagIPs]; ok {
		s.ExcludeCIDRs = list
	}
	return s
}

// appMeshInstalls tells whether the pod has the init container that redirects; others may call one of theirs the same.
func appMeshInstalls(t *Target) bool {
	for k := range t.Spec.InitContainers {
		if c := &t.Spec.InitContainers[k]; c.Name == appMeshInit && appMeshRoutes(c) {
			return true
		}
	}
	return false
}

// appMeshGateway: who runs a virtual gateway writes its envoy into the pod, and tells it which gateway it is (user guide, Envoy
// configuration variables; APPMESH_VIRTUAL_NODE_NAME is the older one).
func appMeshGateway(c *corev1.Container) bool {
	return c.Name == appMeshProxy && strings.Contains(envOr(c.Env, "APPMESH_RESOURCE_ARN", envOr(c.Env, "APPMESH_VIRTUAL_NODE_NAME", "")), "virtualGateway/")
}

func appMeshRoutes(c *corev1.Container) bool {
	return envOr(c.Env, "APPMESH_ENVOY_EGRESS_PORT", "") != ""
}

// appMeshAsked: the pod's annotation goes over the namespace's label; anything but the two words counts as nothing said
// (pkg/inject/inject.go, determineSidecarInjectMode).
func appMeshAsked(t *Target) Tri {
	said, ok := t.Meta.Annotations[appMeshInject]
	if !ok {
		said = t.Namespace.Labels[appMeshInject]
	}
	switch {
	case strings.EqualFold(said, appMeshEnabled):
		return Yes
	case strings.EqualFold(said, "disabled"):
		return No
	}
	return Unknown
}

// appMeshWants: a pod is injected for the VirtualNode that selects it. One that nobody selects is refused where it asked, and
// left alone where it did not; one that a VirtualGateway selects brings an envoy of its own and is not redirected. Those
// objects are not read.
func appMeshWants(t *Target, _ *Settings) Tri {
	asked := appMeshAsked(t)
	if asked == Yes && slices.ContainsFunc(t.Spec.Containers, func(c corev1.Container) bool { return c.Name == appMeshProxy }) {
		return Unknown
	}
	return asked
}

func appMeshMuddle(t *Target) []Muddle {
	var out []Muddle
	label, selected := t.Namespace.Labels[appMeshInject]
	said, annotated := t.Meta.Annotations[appMeshInject]
	if selected && label != appMeshEnabled && label != "disabled" {
		out = append(out, Muddle{
			What: "label " + appMeshInject + "=" + label + " is on namespace " + t.Namespace.Name + ": App Mesh knows enabled and disabled alone",
			Fix:  "Label the namespace: " + appMeshInject + ": enabled",
		})
	}
	switch value, labelled := t.Meta.Labels[appMeshInject]; {
	case annotated && !selected && strings.EqualFold(said, appMeshEnabled) && t.Annotation(appMeshEgressPort) == "":
		out = append(out, Muddle{
			What: "annotation " + appMeshInject + ": " + said + " is on the pod, but namespace " + t.Namespace.Name + " has no such label",
			Fix:  "kubectl label namespace " + t.Namespace.Name + " " + appMeshInject + "=disabled # the pod goes over it",
			Away: true,
		})
	case annotated && !strings.EqualFold(said, appMeshEnabled) && !strings.EqualFold(said, "disabled"):
		out = append(out, Muddle{
			What: "annotation " + appMeshInject + ": " + said + " says nothing to App Mesh, which knows enabled and disabled alone",
			Fix:  "Annotate the pod: " + appMeshInject + ": enabled",
		})
	case labelled && !annotated:
		out = append(out, Muddle{
			What: "label " + appMeshInject + "=" + value + " is on the pod, where App Mesh does not read it",
			Fix:  "Annotate the pod: " + appMeshInject + ": " + value,
		})
	}
	if list, ok := t.Meta.Annotations[appMeshIgnoredIPs]; ok && t.Annotation(appMeshEgressPort) == "" {
		out = append(out, Muddle{
			What: "annotation " + appMeshIgnoredIPs + ": " + list + " has no effect: App Mesh takes the addresses from its controller's flag --" + appMeshFlagIPs,
			Fix:  "Use " + appMeshIgnoredPort + ", or the flag.",
		})
	}
	return out
}

// appMeshPlugin tells whether Fargate's plugin redirects the pod, and proxyinit does not: the annotation decides, else the label
// (pkg/inject/proxy.go, isAppMeshCNIEnabled). Fargate's own webhook gives pods the label; where it is still to come nobody can
// say whether it will.
func appMeshPlugin(t *Target, s *Settings) Tri {
	if value, ok := t.Meta.Annotations[appMeshCNI]; ok {
		return TriOf(strings.EqualFold(value, appMeshEnabled))
	}
	if value, ok := t.Meta.Labels[fargateProfile]; ok {
		return TriOf(value != "")
	}
	for _, h := range t.Namespace.Hooks {
		if s.CNI == Unknown && strings.Contains(h.Configuration, "eks-fargate-mutation") && h.Matches(t.Meta.Labels) != No {
			return Unknown
		}
	}
	return s.CNI.Or(No)
}

// appMeshInjects appends proxyinit, unless the plugin does its work, and appends envoy, or puts it before the other containers
// where the controller lets apps wait for it (pkg/inject/init_proxy.go, envoy.go).
func appMeshInjects(p *Plan, i *Injector, s *Settings) {
	t := p.Target
	if p.has(i) {
		return
	}
	m := Mesh{Injector: i, CNI: appMeshPlugin(t, s), Native: No, Hold: s.Hold, ProxyUID: appMeshUID, ProxyGID: NoID}
	m.Capture.UIDs = []int64{appMeshUID}
	addresses, ports := s.ExcludeCIDRs, said(t, appMeshIgnoredPort, s.ExcludePorts)
	m.Capture.appMesh(p, addresses, ports)
	if value, ok := t.Meta.Annotations[appMeshPorts]; ok {
		m.Capture.appMeshInbound(value)
	}
	if m.CNI == Unknown {
		p.Doubt("whether the pod will run on Fargate is not known")
	}
	if m.CNI != Yes {
		p.Add(Step{Name: appMeshInit, Phase: Init, Role: Installer, Injector: i, UID: NoID, GID: NoID}, false)
	}
	if own := slices.IndexFunc(p.Mains, func(s Step) bool { return s.Name == appMeshProxy }); own >= 0 {
		p.Mains[own].Injector, p.Mains[own].Role = i, Proxy // it stays as it is
	} else {
		p.Add(Step{Name: appMeshProxy, Phase: Main, Role: Proxy, Injector: i, UID: appMeshUID, GID: NoID, Gated: m.Hold == Yes}, m.Hold == Yes)
	}
	p.set(m)
}

// appMesh sets what the redirect lets pass besides the proxy: TCP alone is taken, nothing to the pod's own addresses, and nothing to
// port 22, which the route manager adds to every list.
func (c *Capture) appMesh(p *Plan, addresses, ports string) {
	var errA, errB error
	c.Exclude, errA = ParseAddresses(addresses)
	c.ExcludePorts, errB = ParseColonRanges(ports)
	if errA != nil || errB != nil {
		p.Doubt("what AWS App Mesh exempts cannot be read")
	}
	if !portIn(c.ExcludePorts, 22) {
		c.ExcludePorts = append(c.ExcludePorts, Ports{22, 22})
	}
}

func (c *Capture) appMeshInbound(ports string) {
	include, err := ParseColonRanges(ports)
	c.Inbound = Inbound{Known: err == nil, Listed: true, Include: include}
}

// appMeshObserve reads the redirect where it was rendered: the environment of proxyinit, or the annotations from which Fargate's
// plugin makes it. An envoy without either is a VirtualGateway's, or the user's.
func appMeshObserve(p *Plan, m *Mesh, first, _ *Step) bool {
	t := p.Target
	value := t.Annotation
	uid, gid, addresses, ports, inbound := appMeshIgnoredUID, appMeshIgnoredGID, appMeshIgnoredIPs, appMeshIgnoredPort, appMeshPorts
	if c := p.Container(first); c != nil {
		if !appMeshRoutes(c) {
			first.Injector, first.Role = nil, Own // somebody else's of the same name
			return false
		}
		value = func(name string) string { return envOr(c.Env, name, "") }
		if value("APPMESH_START_ENABLED") != "1" {
			return false
		}
		uid, gid, addresses, ports = "APPMESH_IGNORE_UID", "APPMESH_IGNORE_GID", "APPMESH_EGRESS_IGNORED_IP", "APPMESH_EGRESS_IGNORED_PORTS"
		inbound = "APPMESH_APP_PORTS"
	} else if appMeshPlugin(t, unknownSettings()) != Yes {
		return false
	}
	m.ProxyUID, m.ProxyGID = parseID(value(uid)), parseID(value(gid))
	m.Capture.UIDs = []int64{m.ProxyUID}
	if m.ProxyGID != NoID {
		m.Capture.GIDs = []int64{m.ProxyGID}
	}
	m.Capture.appMesh(p, value(addresses), value(ports))
	m.Capture.appMeshInbound(value(inbound))
	return true
}

// appMeshCheckPorts reads the list as the route manager does, which hands it to iptables' multiport match.
func appMeshCheckPorts(list string) error {
	ports, err := ParseColonRanges(list)
	if err != nil {
		return err
	}
	n := len(ports)
	for _, p := range ports {
		if p.First != p.Last {
			n++
		}
	}
	if n > 15 {
		return ErrManyPorts
	}
	return nil
}

func appMeshAnnotations() []Annotation {
	known := []Annotation{
		{Key: appMeshIgnoredPort, Means: ExcludePorts, Check: appMeshCheckPorts, Ports: ParseColonRanges, Through: ":"},
		{Key: appMeshPorts, Means: IncludeInbound, Check: appMeshCheckPorts, Ports: ParseColonRanges, Through: ":"},
	}
	for _, name := range [...]string{
		"sidecarInjectorWebhook", "appmeshCNI", "egressIgnoredIPs", "ignoredUID", "ignoredGID", "proxyEgressPort", "proxyIngressPort", "ipv6",
		"cpuRequest", "memoryRequest", "cpuLimit", "memoryLimit", "preview", "secretMounts", "volumeMounts", "sds", "sidecarEnv",
		"virtualGatewaySkipImageOverride", "xrayAgentConfigMount",
	} {
		known = append(known, Annotation{Key: appMeshDomain + name})
	}
	return known
}
