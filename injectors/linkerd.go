package injectors

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Linkerd's annotations (linkerd2, pkg/k8s/labels.go and pkg/inject/inject.go at edge-26.8.3).
const (
	linkerdMark         = "linkerd.io/proxy-version"
	linkerdInject       = "linkerd.io/inject"
	linkerdConfig       = "config.linkerd.io/"
	linkerdAwait        = linkerdConfig + "proxy-await"
	linkerdSkipOutbound = linkerdConfig + "skip-outbound-ports"
	linkerdSkipInbound  = linkerdConfig + "skip-inbound-ports"
	linkerdSkipSubnets  = linkerdConfig + "skip-subnets"
	linkerdOpaque       = linkerdConfig + "opaque-ports"
	linkerdProxyUID     = linkerdConfig + "proxy-uid"
	linkerdProxyGID     = linkerdConfig + "proxy-gid"
	linkerdWebhooks     = linkerdConfig + "admission-webhooks" // a label, of namespaces

	// One switch, three times renamed: 2.15 and later know the first, 2.19 and later the second too. All still work at
	// edge-26.8.3.
	linkerdAlphaNative = "config.alpha.linkerd.io/proxy-enable-native-sidecar"
	linkerdBetaNative  = "config.beta.linkerd.io/proxy-enable-native-sidecar"
	linkerdNative      = linkerdConfig + "proxy-enable-native-sidecar"

	// linkerdUID is the proxy's uid where nothing says otherwise; it has no gid of its own then (values.yaml, proxy.uid).
	linkerdUID = 2102

	linkerdOn, linkerdOff = "enabled", "disabled"
)

// Linkerd is the proxy injector of Linkerd. It redirects TCP alone: names resolve whatever happens. There is no way to exempt a
// destination by its address (skip-subnets is about those who connect to the pod), nor a user other than the proxy's.
func Linkerd() *Injector {
	i := &Injector{
		Name:  "linkerd",
		Title: "Linkerd",
		Facts: "linkerd2 edge-26.8.3 (pkg/inject, charts) and linkerd2-proxy-init 183e791; not verified: " +
			"which spelling of the native sidecar's annotation wins where several are there, whether it acts beside Istio's native sidecar",
		Containers: map[string]Role{
			"linkerd-init":              Installer,
			"linkerd-network-validator": Validator,
			"linkerd-proxy":             Proxy,
			"linkerd-debug":             Helper,
		},
		Owns: func(h *Hook) (string, bool) { return "", h.Name == "linkerd-proxy-injector.linkerd.io" },
		Read: readLinkerd,
		Reads: Reads{
			ConfigMaps: []string{"linkerd-config", "linkerd-cni-config"}, Keys: []string{"values", "cni_network_config"},
		},
		Marked:      func(t *Target) bool { return t.Annotation(linkerdMark) != "" },
		Wants:       linkerdWants,
		Asked:       linkerdAsked,
		Muddle:      linkerdMuddle,
		Observe:     linkerdObserve,
		ServerFirst: linkerdServerFirst,
		AppProtocol: "linkerd.io/opaque", // since 2.18
		Ends:        []string{"linkerd-await"},
		Decline:     Decline{Key: linkerdInject, Value: linkerdOff},
		Request:     map[string]string{linkerdInject: linkerdOn},
		// The chart makes a certificate that signs itself (charts/linkerd-control-plane/templates/proxy-injector-rbac.yaml).
		CA:          CA{Secret: "linkerd-proxy-injector-k8s-tls", Key: "tls.crt"},
		Annotations: linkerdAnnotations(),
		Hold:        &Hold{Key: linkerdAwait, Merge: mergeLinkerdHold},
		// The oldest of the three: where it matters (native sidecars are the default since edge-26.5.2), a release may know no other.
		Native: linkerdAlphaNative,
	}
	i.Inject = func(p *Plan, s *Settings) { linkerdInjects(p, i, s) }
	return i
}

// linkerdWants is Injectable (pkg/inject/report.go): every reason against it counts. A value of linkerd.io/inject that is none
// counts as one, on the namespace even where the pod asks in due form.
func linkerdWants(t *Target, s *Settings) Tri {
	switch {
	case t.Spec.HostNetwork, linkerdAsked(t) != Yes, linkerdFinds(t.Spec):
		return No
	case t.Spec.AutomountServiceAccountToken != nil && !*t.Spec.AutomountServiceAccountToken:
		// Since 2.12 the proxy brings a token of its own, unless told not to (linkerd2#7117, website#1547).
		if own, known := s.Metadata[linkerdToken]; known {
			return TriOf(own == "true")
		}
		return Unknown
	}
	for i := range t.Spec.InitContainers {
		if linkerdSidecar(t.Spec.InitContainers[i].Name) {
			return Unknown // the release that was read does not look for native sidecars
		}
	}
	return Yes
}

// linkerdFinds tells whether the pod has a sidecar already, of whatever mesh (pkg/healthcheck/sidecar.go, HasExistingSidecars).
func linkerdFinds(spec *corev1.PodSpec) bool {
	for i := range spec.Containers {
		if c := &spec.Containers[i]; linkerdSidecar(c.Name) || linkerdImage(c.Image, "linkerd/proxy:", "proxyv2:") {
			return true
		}
	}
	for i := range spec.InitContainers {
		if c := &spec.InitContainers[i]; linkerdInstalled(c.Name) || linkerdImage(c.Image, "linkerd/proxy-init:", "proxy_init:") {
			return true
		}
	}
	return false
}

// linkerdImage tells whether an image is Linkerd's or Istio's own, from where they used to be published.
func linkerdImage(image, ours, theirs string) bool {
	if rest, ok := strings.CutPrefix(image, "cr.l5d.io/"); ok {
		return strings.HasPrefix(rest, ours)
	}
	rest, ok := strings.CutPrefix(image, "gcr.io/istio-release/")
	return ok && strings.HasPrefix(rest, theirs)
}

func linkerdSidecar(name string) bool   { return name == "linkerd-proxy" || name == "istio-proxy" }
func linkerdInstalled(name string) bool { return name == "linkerd-init" || name == "istio-init" }

// linkerdAsked reads linkerd.io/inject: the pod's goes over its namespace's.
func linkerdAsked(t *Target) Tri {
	ours, theirs := t.Annotation(linkerdInject), t.Namespace.Annotations[linkerdInject]
	if !linkerdValid(ours) || !linkerdValid(theirs) {
		return Unknown
	}
	if ours == "" {
		ours = theirs
	}
	if ours == "" {
		return Unknown
	}
	return TriOf(ours != linkerdOff)
}

func linkerdValid(value string) bool {
	return value == "" || value == linkerdOn || value == linkerdOff || value == "ingress"
}

func linkerdMuddle(t *Target) []Muddle {
	var out []Muddle
	ns := t.Namespace
	where := func() string { return "namespace " + ns.Name } // most pods have nothing to say
	for _, at := range [...]struct {
		annotations, labels map[string]string
		where               string
	}{{t.Meta.Annotations, t.Meta.Labels, "the pod"}, {ns.Annotations, ns.Labels, ""}} {
		value := at.annotations[linkerdInject]
		if !linkerdValid(value) {
			out = append(out, Muddle{
				What: fmt.Sprintf("annotation %s: %q on %s is none of enabled, ingress, disabled: Linkerd does not inject its proxy", linkerdInject, value, cmp.Or(at.where, where())),
				Fix:  "Write " + linkerdInject + `: "enabled"`,
			})
		}
		if label, ok := at.labels[linkerdInject]; ok && value == "" {
			out = append(out, Muddle{
				What: "label " + linkerdInject + " is on " + cmp.Or(at.where, where()) + ", and Linkerd reads an annotation of that name",
				Fix:  "Annotate " + cmp.Or(at.where, where()) + ": " + linkerdInject + `: "` + label + `"`,
			})
		}
	}
	_, off := ns.Annotations[linkerdWebhooks]
	switch {
	case off:
		out = append(out, Muddle{
			What: "annotation " + linkerdWebhooks + " is on " + where() + ", where Linkerd's webhook reads a label of that name",
			Fix:  "Make it a label of the namespace.",
		})
	case ns.Labels[linkerdWebhooks] == linkerdOff && linkerdAsked(t) == Yes:
		out = append(out, Muddle{
			What: where() + " has label " + linkerdWebhooks + "=disabled: Linkerd's webhook is not called, whatever " + linkerdInject + " says",
			Fix:  "kubectl label " + where() + " " + linkerdWebhooks + "- # or remove the annotation",
			Away: true,
		})
	}
	return out
}

// linkerdSaid returns an annotation of the pod, or else of its namespace: the webhook copies the namespace's to the pod (AppendNamespaceAnnotations).
func linkerdSaid(t *Target, key string) (string, bool) {
	if value, ok := t.Meta.Annotations[key]; ok {
		return value, true
	}
	value, ok := t.Namespace.Annotations[key]
	return value, ok
}

// linkerdIsNative tells whether the sidecar will be native: pod or namespace say so, else the installation does. Values that
// do not parse are ignored; which of two spellings wins that contradict each other is not known.
func linkerdIsNative(t *Target, s *Settings) Tri {
	answer := Unknown
	for _, key := range [...]string{linkerdNative, linkerdBetaNative, linkerdAlphaNative} {
		value, ok := linkerdSaid(t, key)
		if !ok {
			continue
		}
		native, err := strconv.ParseBool(value)
		if err != nil {
			continue
		}
		if answer != Unknown && answer != TriOf(native) {
			return Unknown
		}
		answer = TriOf(native)
	}
	return answer.Or(s.Native)
}

// linkerdInjects does what the webhook does (charts/patch/templates/patch.json): the container that redirects, or the one that
// looks whether the node plugin has, then the proxy.
//
//	native    both before all init containers
//	classic   behind all init containers; the proxy the first container where it is awaited, else the last
func linkerdInjects(p *Plan, i *Injector, s *Settings) {
	sees := func(mesh func(string) bool) func(Step) bool { return func(c Step) bool { return mesh(c.Name) } }
	if slices.ContainsFunc(p.Mains, sees(linkerdSidecar)) || slices.ContainsFunc(p.Inits, sees(linkerdInstalled)) {
		return
	}
	if slices.ContainsFunc(p.Inits, sees(linkerdSidecar)) {
		p.Doubt("whether Linkerd acts beside another's native sidecar cannot be said")
	}
	t := p.Target
	m := Mesh{Injector: i, CNI: s.CNI, Native: linkerdIsNative(t, s), Hold: No, Late: s.CNI == Yes}
	proxy := Step{Name: "linkerd-proxy", Role: Proxy, Injector: i, UID: linkerdUID, GID: NoID}
	if s.ProxyUID > 0 {
		proxy.UID = s.ProxyUID
	}
	if s.GID > 0 {
		proxy.GID = s.GID
	}
	proxy.UID, proxy.GID = linkerdID(t, linkerdProxyUID, proxy.UID), linkerdID(t, linkerdProxyGID, proxy.GID)
	m.ProxyUID, m.ProxyGID = proxy.UID, proxy.GID
	if m.CNI == Yes {
		m.linkerdUnderPlugin(t, s, proxy.UID)
	} else {
		m.linkerdRendered(t, s)
	}

	first := Step{Name: "linkerd-init", Role: Installer, Injector: i, UID: NoID, GID: NoID}
	if m.CNI == Yes {
		first.Name, first.Role = "linkerd-network-validator", Validator
	}
	await := s.Hold
	switch value, _ := linkerdSaid(t, linkerdAwait); value {
	case linkerdOn:
		await = Yes
	case linkerdOff:
		await = No
	}
	proxy.Gated = await == Yes
	if m.Native == Yes {
		proxy.Phase = Native
		p.Add(proxy, true)
	} else {
		proxy.Phase, m.Hold = Main, await
		p.Add(proxy, await == Yes)
	}
	p.Add(first, m.Native == Yes)
	p.set(m)
}

// linkerdRendered sets what linkerd-init will redirect.
func (m *Mesh) linkerdRendered(t *Target, s *Settings) {
	m.Capture.ExcludePorts = linkerdPorts(linkerdOr(t, linkerdSkipOutbound, s.ExcludePorts))
	m.Capture.Inbound = Inbound{
		Known:   s.ListsKnown() && linkerdOr(t, linkerdSkipSubnets, s.Metadata[linkerdSubnets]) == "",
		Exclude: linkerdPorts(linkerdOr(t, linkerdSkipInbound, s.ExcludeInbound)),
	}
	m.Capture.OnlyIPv4 = s.Metadata[linkerdNoIPv6] == "true"
	m.linkerdIDs()
}

func linkerdOr(t *Target, key, otherwise string) string {
	if value, ok := linkerdSaid(t, key); ok {
		return value
	}
	return otherwise
}

func linkerdID(t *Target, key string, otherwise int64) int64 {
	if value, ok := linkerdSaid(t, key); ok {
		if id := parseID(value); id >= 0 {
			return id
		}
	}
	return otherwise
}

// mergeLinkerdHold asks for the await. A value that is neither of the two is its user's word all the same: Linkerd ignores it,
// and a rule says so.
func mergeLinkerdHold(value string) (merged string, decided bool, err error) {
	if value != "" {
		return value, true, nil
	}
	return linkerdOn, false, nil
}

// linkerdDefaultOpaque are the ports that are opaque where nothing says otherwise (values.yaml, proxy.opaquePorts).
const linkerdDefaultOpaque = "25,587,3306,4444,5432,6379,9300,11211"

// linkerdServerFirst: a port that is opaque is passed on unseen. On any other one the proxy waits ten seconds for the client to
// speak before it connects (documentation, Protocol Detection). The pod's own list is about its own ports; the other side's
// says what holds for what it connects to.
func linkerdServerFirst(t *Target, port uint16) Tri {
	usual := linkerdDefaultOpaque
	for _, h := range t.Namespace.Hooks {
		if h.Injector == nil || h.Injector.Name != "linkerd" {
			continue
		}
		if list, known := h.settings().Metadata[linkerdOpaquePorts]; known {
			usual = list
		}
	}
	list, said := linkerdSaid(t, linkerdOpaque)
	switch inUsual := portIn(linkerdPorts(usual), port); {
	case said && portIn(linkerdPorts(list), port):
		return Yes
	case inUsual && said:
		return Unknown
	default:
		return TriOf(inUsual)
	}
}

var (
	errNotAwait  = errors.New(`want "enabled" or "disabled"`)
	errNotNumber = errors.New("not a number")
)

func linkerdAnnotations() []Annotation {
	ports := func(v string) error { _, err := parseLinkerdPorts(v); return err }
	number := func(v string) error {
		if parseID(v) < 0 {
			return fmt.Errorf("%q: %w", v, errNotNumber)
		}
		return nil
	}
	boolean := func(v string) error {
		if !parses(v) {
			return fmt.Errorf("%q: %w", v, errNotBoolean)
		}
		return nil
	}
	known := []Annotation{
		{Key: linkerdSkipOutbound, Means: ExcludePorts, Check: ports, Ports: parseLinkerdPorts},
		{Key: linkerdSkipInbound, Means: ExcludeInbound, Check: ports, Ports: parseLinkerdPorts},
		{Key: linkerdSkipSubnets, Check: checkLinkerdSubnets, Breaks: always},
		{Key: linkerdAwait, Check: func(v string) error {
			if v != linkerdOn && v != linkerdOff {
				return fmt.Errorf("%q: %w", v, errNotAwait)
			}
			return nil
		}},
		{Key: linkerdAlphaNative, Check: boolean},
		{Key: linkerdBetaNative, Check: boolean},
		{Key: linkerdNative, Check: boolean},
		{Key: linkerdProxyUID, Check: number},
		{Key: linkerdProxyGID, Check: number},
		{Key: linkerdInject},
		{Key: "config.alpha.linkerd.io/proxy-wait-before-exit-seconds"},
	}
	// Documentation, 2-edge, Proxy Configuration.
	for _, name := range [...]string{
		"access-log", "admin-port", "close-wait-timeout", "control-port", "debug-image", "debug-image-pull-policy",
		"debug-image-version", "default-inbound-policy", "enable-debug-sidecar", "enable-external-profiles", "image-pull-policy",
		"inbound-port", "init-image", "init-image-version", "opaque-ports", "outbound-port", "pod-inbound-ports",
		"proxy-cpu-limit", "proxy-cpu-ratio-limit", "proxy-cpu-request", "proxy-disable-inbound-protocol-detect-timeout",
		"proxy-disable-outbound-protocol-detect-timeout", "proxy-ephemeral-storage-limit", "proxy-ephemeral-storage-request",
		"proxy-image", "proxy-inbound-connect-timeout", "proxy-inbound-discovery-cache-unused-timeout", "proxy-log-format",
		"proxy-log-level", "proxy-memory-limit", "proxy-memory-request", "proxy-outbound-connect-timeout",
		"proxy-outbound-discovery-cache-unused-timeout", "proxy-require-identity-inbound-ports", "proxy-version",
		"shutdown-grace-period",
	} {
		known = append(known, Annotation{Key: linkerdConfig + name})
	}
	for k := range known {
		known[k].Namespaced = true
	}
	// What it leaves on a pod that it has injected.
	return append(known, Annotation{Key: linkerdMark}, Annotation{Key: "linkerd.io/created-by"}, Annotation{Key: "linkerd.io/trust-root-sha256"})
}
