package injectors

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Open Service Mesh's annotations and labels (osm, pkg/constants and pkg/injector/exclusions.go at 7bec5b6b2).
const (
	osmInject       = "openservicemesh.io/sidecar-injection"
	osmMonitored    = "openservicemesh.io/monitored-by" // a label of namespaces
	osmIgnored      = "openservicemesh.io/ignore"       // another
	osmMark         = "osm-proxy-uuid"                  // a label of injected pods
	osmExcludeCIDRs = "openservicemesh.io/outbound-ip-range-exclusion-list"
	osmIncludeCIDRs = "openservicemesh.io/outbound-ip-range-inclusion-list"
	osmExcludePorts = "openservicemesh.io/outbound-port-exclusion-list"
	osmInboundPorts = "openservicemesh.io/inbound-port-exclusion-list"

	osmWebhook = "osm-inject.k8s.io"

	osmUID = 1500
)

// OSM is the sidecar injector of Open Service Mesh, which is archived and still comes with managed clusters. It has no node
// plugin, no native sidecars and no hold, and redirects TCP over IPv4 alone. Its mesh-wide lists are in a custom resource, which is
// not read: the configuration can say what is in them. The lists of a pod are added to them.
func OSM() *Injector {
	i := &Injector{
		Name:  "osm",
		Title: "Open Service Mesh",
		Facts: "osm main at 7bec5b6b2 (archived), and both forms of osm-init's script",
		Containers: map[string]Role{
			"osm-init":        Installer,
			"osm-healthcheck": Helper,
		},
		Common: map[string]Role{"envoy": Proxy},
		Owns:   func(h *Hook) (string, bool) { return "", h.Name == osmWebhook },
		Read: func(src *Sources, _ string) *Settings {
			s := &Settings{Missing: src.Missing, CNI: No, Native: No, Hold: No}
			s.missing("MeshConfig osm-mesh-config is not read")
			return s
		},
		Marked:  func(t *Target) bool { return t.Meta.Labels[osmMark] != "" },
		Wants:   osmWants,
		Asked:   osmAsked,
		Muddle:  osmMuddle,
		Observe: osmObserve,
		// Its proxy looks at what a connection says, but for ports that their Service, or an Egress, calls tcp-server-first: which
		// the pod does not say.
		ServerFirst: func(*Target, uint16) Tri { return Unknown },
		AppProtocol: "tcp-server-first",
		Decline:     Decline{Key: osmInject, Value: "disabled"},
		Annotations: osmAnnotations(),
	}
	i.Inject = func(p *Plan, s *Settings) { osmInjects(p, i, s) }
	return i
}

// osmWants is mustInject (pkg/injector/webhook.go), but for the mesh's own namespace, which the webhook's selector leaves out.
// A value that is none denies the pod.
func osmWants(t *Target, _ *Settings) Tri {
	switch {
	case t.Spec.HostNetwork, t.Namespace.Name == "kube-system", t.Namespace.Name == "kube-public":
		return No
	}
	return TriOf(osmAsked(t) == Yes)
}

// osmAsked: the pod's annotation goes over its namespace's.
func osmAsked(t *Target) Tri {
	ours, saidOurs := t.Meta.Annotations[osmInject]
	theirs, saidTheirs := t.Namespace.Annotations[osmInject]
	pod, namespace := osmSwitch(ours), osmSwitch(theirs)
	switch {
	case saidOurs && pod == Unknown, saidTheirs && namespace == Unknown:
		return Unknown
	case saidOurs:
		return pod
	}
	return namespace
}

func osmSwitch(value string) Tri {
	switch strings.ToLower(value) {
	case "enabled", "yes", "true":
		return Yes
	case "disabled", "no", "false":
		return No
	}
	return Unknown
}

func osmMuddle(t *Target) []Muddle {
	var out []Muddle
	ns := t.Namespace
	where := func() string { return "namespace " + ns.Name } // most pods have nothing to say
	for _, at := range [...]struct {
		annotations, labels map[string]string
		where               string
	}{{t.Meta.Annotations, t.Meta.Labels, "the pod"}, {ns.Annotations, ns.Labels, ""}} {
		value, said := at.annotations[osmInject]
		if said && osmSwitch(value) == Unknown {
			out = append(out, Muddle{
				What: fmt.Sprintf("annotation %s: %q on %s is neither enabled nor disabled: Open Service Mesh denies the pod", osmInject, value, cmp.Or(at.where, where())),
				Fix:  "Write " + osmInject + `: "enabled"`,
			})
		}
		if label, ok := at.labels[osmInject]; ok && !said {
			out = append(out, Muddle{
				What: "label " + osmInject + " is on " + cmp.Or(at.where, where()) + ", and Open Service Mesh reads an annotation of that name",
				Fix:  "Annotate " + cmp.Or(at.where, where()) + ": " + osmInject + `: "` + label + `"`,
			})
		}
	}
	if osmAsked(t) != Yes {
		return out
	}
	_, monitored := ns.Labels[osmMonitored]
	_, ignored := ns.Labels[osmIgnored]
	switch {
	case !monitored:
		out = append(out, Muddle{
			What: "annotation " + osmInject + " asks for a proxy, but " + where() + " has no label " + osmMonitored + ": no webhook is called",
			Fix:  "kubectl label " + where() + " " + osmMonitored + "=" + osmRegistered(t),
			Away: true,
		})
	case ignored:
		out = append(out, Muddle{
			What: where() + " has labels " + osmMonitored + " and " + osmIgnored + ": the second one wins, and no webhook is called",
			Fix:  "Remove label " + osmIgnored + ", or the annotation " + osmInject + ".",
			Away: true,
		})
	}
	return out
}

// osmRegistered is the name of the mesh whose webhook is registered, or else the one that the installer gives it.
func osmRegistered(t *Target) string {
	for _, h := range t.Namespace.Registered {
		if h.Name != osmWebhook {
			continue
		}
		requirements, _ := h.Namespaces.Requirements()
		for k := range requirements {
			if values := requirements[k].ValuesUnsorted(); requirements[k].Key() == osmMonitored && len(values) == 1 {
				return values[0]
			}
		}
	}
	return "osm"
}

// osmInjects appends osm-init and the proxy (pkg/injector/patch.go).
func osmInjects(p *Plan, i *Injector, s *Settings) {
	if p.Mesh(i) != nil || p.has(i) {
		return
	}
	m := Mesh{Injector: i, CNI: s.CNI.Or(No), Native: s.Native.Or(No), Hold: No, ProxyUID: osmUID, ProxyGID: NoID}
	if s.ProxyUID > 0 {
		m.ProxyUID = s.ProxyUID
	}
	c := &m.Capture
	c.UIDs, c.OnlyIPv4, c.Inbound.Known = []int64{m.ProxyUID}, true, s.ListsKnown()
	list := func(key, meshWide string) string {
		if value := p.Target.Annotation(key); value != "" && meshWide != "" {
			return value + "," + meshWide
		} else if value != "" {
			return value
		}
		return meshWide
	}
	c.Exclude, _ = parseOSMRanges(list(osmExcludeCIDRs, s.ExcludeCIDRs))
	c.Include, _ = parseOSMRanges(list(osmIncludeCIDRs, s.IncludeCIDRs))
	c.Listed = len(c.Include) > 0
	c.ExcludePorts, _ = parseOSMPorts(list(osmExcludePorts, s.ExcludePorts))
	c.Inbound.Exclude, _ = parseOSMPorts(list(osmInboundPorts, s.ExcludeInbound))
	p.Add(Step{Name: "osm-init", Role: Installer, Injector: i, UID: 0, GID: NoID}, false)
	p.Add(Step{Name: "envoy", Phase: Main, Role: Proxy, Injector: i, UID: m.ProxyUID, GID: NoID}, false)
	p.set(m)
}

// osmObserve reads the script that osm-init runs. It has two forms (pkg/injector/iptables.go):
//
//	newer  one rule a line, for iptables-restore, in the chain OSM_PROXY_OUTBOUND
//	older  commands joined by &&, in the chain PROXY_OUTPUT
func osmObserve(p *Plan, m *Mesh, first, _ *Step) bool {
	m.ProxyUID, m.ProxyGID = osmUID, NoID
	c := &m.Capture
	c.OnlyIPv4 = true
	if m.CNI == Yes { // osm-init is gone: nobody else redirects
		return false
	}
	read := false
	c.Inbound.Known = true
	for _, arg := range p.Container(first).Args {
		for line := range strings.SplitSeq(strings.ReplaceAll(arg, "&&", "\n"), "\n") {
			read = c.osmRule(strings.Fields(line)) || read
		}
	}
	if !read {
		p.Doubt("what osm-init redirects cannot be read from its script")
		c.Inbound.Known = false
	}
	if len(c.UIDs) == 0 {
		c.UIDs = []int64{osmUID}
	}
	m.ProxyUID = c.UIDs[0]
	return true
}

// osmRule takes in one rule, and tells whether it is about what leaves the pod. Rules about the loopback interface are known.
func (c *Capture) osmRule(words []string) bool {
	r, negated := osmWords(words)
	switch r["-A"] + r["-I"] {
	case "OSM_PROXY_OUTBOUND", "PROXY_OUTPUT":
	case "OSM_PROXY_INBOUND", "PROXY_INBOUND":
		c.Inbound.osmRule(r)
		return false
	default:
		return false
	}
	switch {
	case r["-o"] == "lo" || negated || r["-d"] == "127.0.0.1/32":
	case r["-j"] == "RETURN":
		c.osmReturn(r)
	case r["-d"] != "": // taken, and what is behind it is not
		ranges, _ := parseOSMRanges(r["-d"])
		c.Include = append(c.Include, ranges...)
	}
	return true
}

// osmWords returns the options of a rule, and whether one of them is negated.
func osmWords(words []string) (options map[string]string, negated bool) {
	options = map[string]string{}
	for i := 0; i+1 < len(words); i++ {
		switch w := words[i]; w {
		case "!":
			negated = true
		case "-A", "-I", "-d", "-i", "-o", "-j", "--uid-owner", "--dport", "--dports":
			options[w] = words[i+1]
		}
	}
	return options, negated
}

// osmRule takes in a rule about what arrives: what RETURN lets pass reaches its container directly.
func (i *Inbound) osmRule(r map[string]string) {
	switch {
	case r["-j"] != "RETURN":
	case r["-i"] != "":
		i.Known = false // it depends on the interface
	default:
		ports, _ := parseOSMPorts(r["--dport"] + r["--dports"])
		i.Exclude = append(i.Exclude, ports...)
	}
}

// osmReturn takes in a rule that lets something pass; one without a condition lets all pass that those before it did not take.
func (c *Capture) osmReturn(r map[string]string) {
	switch {
	case r["--uid-owner"] != "":
		if uid := parseID(r["--uid-owner"]); uid >= 0 {
			c.UIDs = append(c.UIDs, uid)
		}
	case r["-o"] != "":
		if c.Interfaces != "" {
			c.Interfaces += ","
		}
		c.Interfaces += r["-o"]
	case r["-d"] != "":
		ranges, _ := parseOSMRanges(r["-d"])
		c.Exclude = append(c.Exclude, ranges...)
	case r["--dports"] != "":
		ports, _ := parseOSMPorts(r["--dports"])
		c.ExcludePorts = append(c.ExcludePorts, ports...)
	default:
		c.Listed = true
	}
}

// osmAnnotations: entries are trimmed, and one that is wrong denies the pod, as does a list without any.
func osmAnnotations() []Annotation {
	ranges := func(v string) error {
		if v == "" {
			return ErrEmptyList
		}
		_, err := parseOSMRanges(v)
		return err
	}
	ports := func(v string) error {
		if v == "" {
			return ErrEmptyList
		}
		_, err := parseOSMPorts(v)
		return err
	}
	return []Annotation{
		{Key: osmExcludeCIDRs, Means: ExcludeCIDRs, Check: ranges, CIDRs: parseOSMRanges, Denied: true},
		{Key: osmIncludeCIDRs, Means: IncludeCIDRs, Check: ranges, CIDRs: parseOSMRanges, Denied: true},
		{Key: osmExcludePorts, Means: ExcludePorts, Check: ports, Ports: parseOSMPorts, Denied: true},
		{Key: osmInboundPorts, Means: ExcludeInbound, Check: ports, Ports: parseOSMPorts, Denied: true},
		{Key: osmInject, Namespaced: true},
		{Key: "openservicemesh.io/metrics", Namespaced: true},
	}
}

func parseOSMRanges(list string) ([]netip.Prefix, error) {
	if list == "" {
		return nil, nil
	}
	out := make([]netip.Prefix, 0, strings.Count(list, ",")+1)
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		r, err := netip.ParsePrefix(entry)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", entry, cidrFault(entry))
		}
		out = append(out, r.Masked())
	}
	return out, nil
}

func parseOSMPorts(list string) ([]Ports, error) {
	if list == "" {
		return nil, nil
	}
	out := make([]Ports, 0, strings.Count(list, ",")+1)
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		n, err := strconv.ParseUint(entry, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q: %w", entry, errNotPort)
		}
		out = append(out, Ports{uint16(n), uint16(n)})
	}
	return out, nil
}
