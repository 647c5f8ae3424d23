package injectors

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Consul's annotations and labels (consul-k8s, control-plane/connect-inject/constants/annotations_and_labels.go at a507b1d1e).
const (
	consulDomain        = "consul.hashicorp.com/"
	consulStatus        = consulDomain + "connect-inject-status"
	consulInject        = consulDomain + "connect-inject"
	consulService       = consulDomain + "connect-service"
	consulTransparent   = consulDomain + "transparent-proxy"
	consulRedirected    = consulDomain + "transparent-proxy-status"
	consulRendered      = consulDomain + "redirect-traffic-config"
	consulNative        = consulDomain + "enable-consul-dataplane-as-sidecar"
	consulLifecycle     = consulDomain + "enable-sidecar-proxy-lifecycle"
	consulExcludeUIDs   = consulTransparent + "-exclude-uids"
	consulExcludeCIDRs  = consulTransparent + "-exclude-outbound-cidrs"
	consulExcludePorts  = consulTransparent + "-exclude-outbound-ports"
	consulExcludeInPort = consulTransparent + "-exclude-inbound-ports"

	// consulConfig is the variable of the init container with the redirect that it makes, where it makes one.
	consulConfig = "CONSUL_REDIRECT_TRAFFIC_CONFIG"

	consulInit, consulProxy = "consul-connect-inject-init", "consul-dataplane"

	// Users of the proxy, and of the init container that makes no redirect.
	consulUID, consulInitUID = 5995, 5996
)

// Consul is the connect injector of Consul on Kubernetes. It redirects in transparent proxy mode alone. What is exempt is
// rendered when the webhook runs, into the init container's environment or, for the node plugin, into an annotation:
// annotations that come later have no effect in either mode.
//
// Not verified: from which release on the dataplane can be a native sidecar (the flag came with consul-k8s#4678), and what a
// pod's IPv6 traffic meets: it is redirected in dual-stack clusters only, and taken for redirected here.
func Consul() *Injector {
	i := &Injector{
		Name:  "consul",
		Title: "Consul",
		Facts: "consul-k8s a507b1d1e, consul sdk/iptables 0.18.2, sdk/nftables 0.19.0",
		Containers: map[string]Role{
			consulInit: Installer,
			// Pods of several services have one pair each, and no transparent proxy.
			consulInit + "-*":  Dialer,
			consulProxy:        Proxy,
			consulProxy + "-*": Proxy,
		},
		Owns: consulOwns,
		Read: readConsul,
		Reads: Reads{
			Deployments: []string{"component=connect-injector"},
			Flags: []string{
				consulFlagInject, consulFlagTransparent, consulFlagCNI, consulFlagNative, consulFlagLifecycle, consulFlagOpenShift,
				consulFlagAllow, consulFlagDeny,
			},
		},
		Marked:      func(t *Target) bool { return t.Annotation(consulStatus) != "" },
		Wants:       consulWants,
		Asked:       func(t *Target) Tri { return consulSays(t.Meta.Annotations, consulInject) },
		Muddle:      consulMuddle,
		Decline:     Decline{Key: consulInject, Value: "false"},
		Request:     map[string]string{consulInject: "true"},
		CA:          CA{Keeper: "component=webhook-cert-manager"}, // control-plane/subcommand/webhook-cert-manager/command.go
		Dials:       consulDials,
		Native:      consulNative,
		Annotations: consulAnnotations(),
	}
	i.Inject = func(p *Plan, s *Settings) { consulInjects(p, i, s) }
	i.Observe = consulObserve
	return i
}

// consulOwns: the entry is called <fullname>-connect-injector.consul.hashicorp.com
// (charts/consul/templates/connect-inject-mutatingwebhookconfiguration.yaml). The revision is its Service: behind each is a
// Deployment of its own.
func consulOwns(h *Hook) (service string, ok bool) {
	return h.Service, strings.HasSuffix(h.Name, "connect-injector.consul.hashicorp.com")
}

// consulSays reads a boolean as the injector does; Unknown where it is not there. One that cannot be read makes the injector
// refuse the pod, which then never is.
func consulSays(from map[string]string, key string) Tri {
	value, ok := from[key]
	if !ok {
		return Unknown
	}
	return TriOf(truthy(value, false))
}

// consulWants is shouldInject (connect-inject/webhook/mesh_webhook.go).
func consulWants(t *Target, s *Settings) Tri {
	if t.Namespace.Name == "kube-system" || t.Namespace.Name == "kube-public" || t.Annotation(consulStatus) != "" {
		return No
	}
	if deny := s.Metadata[consulFlagDeny]; deny != "" && consulListed(deny, t.Namespace.Name) {
		return No
	}
	if allow, known := s.Metadata[consulFlagAllow]; known && !consulListed(allow, t.Namespace.Name) && !consulListed(allow, "*") {
		return No
	}
	return consulSays(t.Meta.Annotations, consulInject).Or(s.Inject).Or(No) // the chart's default is to wait to be asked
}

func consulListed(list, want string) bool {
	for entry := range strings.SplitSeq(list, ",") {
		if entry == want {
			return true
		}
	}
	return false
}

// consulTransparently tells whether the injector redirects the pod: the pod's annotation goes over the namespace's label, that
// over the mesh's default (connect-inject/common/common.go, TransparentProxyEnabled).
func consulTransparently(t *Target, s *Settings) Tri {
	asked := consulSays(t.Meta.Annotations, consulTransparent).Or(consulSays(t.Namespace.Labels, consulTransparent))
	if asked != Unknown {
		return asked
	}
	switch s.Off {
	case Yes:
		return No
	case No:
		return Yes
	case Unknown:
	}
	return Unknown
}

// consulMuddle: injection is asked for by an annotation on the pod and nothing else, the redirect by an annotation on the pod or
// a label on the namespace.
func consulMuddle(t *Target) []Muddle {
	var out []Muddle
	say := func(where string, labels map[string]string, key, fix string) {
		if value, ok := labels[key]; ok {
			out = append(out, Muddle{What: "label " + key + "=" + value + " is on " + where + ", where Consul does not read it", Fix: fix + `: "` + value + `"`})
		}
	}
	if _, ok := t.Meta.Annotations[consulInject]; !ok {
		say("the pod", t.Meta.Labels, consulInject, "Annotate the pod: "+consulInject)
		say("namespace "+t.Namespace.Name, t.Namespace.Labels, consulInject, "Annotate the pod: "+consulInject)
	}
	if _, ok := t.Meta.Annotations[consulTransparent]; !ok {
		say("the pod", t.Meta.Labels, consulTransparent, "Annotate the pod: "+consulTransparent)
	}
	if strings.Contains(t.Annotation(consulService), ",") && consulTransparently(t, unknownSettings()) == Yes {
		out = append(out, Muddle{
			What: "annotation " + consulService + " names several services, and transparent proxy is on: Consul refuses such a pod",
			Fix:  "Annotate the pod: " + consulTransparent + `: "false"`,
		})
	}
	return out
}

// consulDials: the init container waits until Consul's servers have registered the pod. Their address may be a command that
// finds them (exec=...), or a cloud's name for them: then it is not known.
func consulDials(_ *Plan, c *corev1.Container) (Endpoint, bool) {
	host, port := envOr(c.Env, "CONSUL_ADDRESSES", ""), envOr(c.Env, "CONSUL_GRPC_PORT", "")
	n, err := strconv.ParseUint(port, 10, 16)
	if host == "" || err != nil || strings.ContainsAny(host, "= $") {
		return Endpoint{}, false
	}
	return Endpoint{Host: hostname(host), Port: uint16(n)}, true
}

var errNotUser = errors.New("not the number of a user")

// consulEntries reads a list as the programs that make the redirect do: split at commas, and no more. Nothing in it is checked
// before the pod starts; what they cannot read makes the init container, or the node plugin, fail for ever. iptables takes space
// before an entry (tried with 1.8.9), nft any (hashicorp/consul, sdk/nftables 0.19.0).
func consulEntries(list string, read func(entry string) error) error {
	if list == "" {
		return ErrEmptyList
	}
	for entry := range strings.SplitSeq(list, ",") {
		switch trimmed := strings.TrimSpace(entry); {
		case trimmed == "":
			return fmt.Errorf("%q: %w", entry, errEmptyEntry)
		case strings.TrimLeft(entry, " \t") != trimmed:
			return fmt.Errorf("%q: %w", entry, errSpace)
		}
		if err := read(strings.TrimSpace(entry)); err != nil {
			return err
		}
	}
	return nil
}

// consulBreaks tells of a list whether it is certain that no release can make the redirect: an entry is empty, or broken.
func consulBreaks(broken func(entry string) bool) func(list string) bool {
	return func(list string) bool {
		for entry := range strings.SplitSeq(list, ",") {
			if strings.TrimSpace(entry) == "" || broken(entry) {
				return true
			}
		}
		return false
	}
}

func consulCheckCIDRs(list string) error {
	return consulEntries(list, func(entry string) error { _, err := ParseAddresses(entry); return err })
}

// consulCheckPorts lets the names of services pass, which the programs look up.
func consulCheckPorts(list string) error {
	return consulEntries(list, func(entry string) error {
		if c := entry[0] | 0x20; 'a' <= c && c <= 'z' {
			return nil
		}
		_, err := ParseColonRanges(entry)
		return err
	})
}

func consulCheckUIDs(list string) error {
	return consulEntries(list, func(entry string) error {
		if _, ok := consulUsers(entry); !ok {
			return fmt.Errorf("%q: %w", entry, errNotUser)
		}
		return nil
	})
}

// consulUsers reads a user, or a range of them as iptables takes it.
func consulUsers(entry string) (Users, bool) {
	first, last, ranged := strings.Cut(strings.TrimSpace(entry), "-")
	if !ranged {
		last = first
	}
	u := Users{First: parseID(first), Last: parseID(last)}
	return u, u.First >= 0 && u.Last >= u.First
}

func consulAnnotations() []Annotation {
	boolean := func(value string) error {
		if !parses(value) {
			return fmt.Errorf("%q: %w", value, errNotBoolean)
		}
		return nil
	}
	booleanOrNothing := func(value string) error {
		if value == "" {
			return nil
		}
		return boolean(value)
	}
	ports := consulBreaks(func(entry string) bool { return brokenPort(entry, ParseColonRanges, ParsePortRanges) })
	known := []Annotation{
		{Key: consulExcludeUIDs, Means: ExcludeUIDs, Check: consulCheckUIDs, Breaks: consulBreaks(brokenUser)},
		{Key: consulExcludeCIDRs, Means: ExcludeCIDRs, Check: consulCheckCIDRs, CIDRs: ParseAddresses, Breaks: consulBreaks(brokenAddress)},
		{Key: consulExcludePorts, Means: ExcludePorts, Check: consulCheckPorts, Ports: ParseColonRanges, Through: ":", Breaks: ports},
		{Key: consulExcludeInPort, Means: ExcludeInbound, Check: consulCheckPorts, Ports: ParseColonRanges, Through: ":", Breaks: ports},
		{Key: consulInject, Check: boolean, Denied: true},
		{Key: consulTransparent, Check: boolean, Denied: true},
		{Key: consulTransparent + "-overwrite-probes", Check: boolean, Denied: true},
		{Key: consulDomain + "consul-dns", Check: boolean, Denied: true},
		{Key: consulNative, Check: booleanOrNothing, Denied: true},
		{Key: consulLifecycle, Check: booleanOrNothing, Denied: true},
	}
	for _, name := range slices.Concat(consulOpaque(), consulGateways()) {
		known = append(known, Annotation{Key: consulDomain + name})
	}
	return known
}

func consulOpaque() []string {
	return []string{
		"connect-inject-status", "transparent-proxy-status", "redirect-traffic-config", "original-pod", "connect-k8s-version", "consul-k8s-version",
		"connect-inject-mount-volume", "connect-service", "kubernetes-service", "connect-service-port", "connect-service-upstreams",
		"service-tags", "service-meta-", "proxy-config-map", "use-proxy-health-check", "consul-namespace",
		"sidecar-proxy-startup-failure-seconds", "sidecar-proxy-liveness-failure-seconds", "sidecar-proxy-cpu-limit", "sidecar-proxy-cpu-request",
		"sidecar-proxy-memory-limit", "sidecar-proxy-memory-request", "enable-sidecar-proxy-lifecycle-shutdown-drain-listeners",
		"sidecar-proxy-lifecycle-shutdown-grace-period-seconds", "sidecar-proxy-lifecycle-startup-grace-period-seconds",
		"sidecar-proxy-lifecycle-graceful-port", "sidecar-proxy-lifecycle-graceful-shutdown-path", "sidecar-proxy-lifecycle-graceful-startup-path",
		"consul-sidecar-user-volume", "consul-sidecar-user-volume-mount", "consul-envoy-proxy-concurrency", "envoy-extra-args",
		"enable-metrics", "enable-metrics-merging", "merged-metrics-port", "prometheus-scrape-port", "prometheus-scrape-path",
		"service-metrics-port", "service-metrics-path", "prometheus-ca-file", "prometheus-ca-path", "prometheus-cert-file", "prometheus-key-file",
		"peering-version",
	}
}

// consulGateways are the annotations of Consul's own gateways, which are pods as well.
func consulGateways() []string {
	return []string{
		"gateway-kind", "gateway-consul-service-name", "mesh-gateway-container-port", "gateway-wan-address-source",
		"gateway-wan-address-static", "gateway-wan-port", "gateway-namespace",
	}
}
