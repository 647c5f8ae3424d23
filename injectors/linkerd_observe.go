package injectors

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// linkerdObserve reads the capture of an injected pod where it takes effect: the arguments of linkerd-init, which were rendered
// when the webhook ran; under CNI the final annotations of pod and namespace, over the node plugin's own configuration
// (linkerd2-proxy-init, cni-plugin/main.go). The plugin leaves pods alone that have linkerd-init, or no linkerd-proxy. Before
// 2.12 nothing in the pod tells whether the node has the plugin: then the settings do.
func linkerdObserve(p *Plan, m *Mesh, first, last *Step) bool {
	if m.CNI == No {
		m.linkerdArguments(p.Container(first).Args)
		return true
	}
	s := m.Settings
	if s == nil {
		s = unknownSettings()
	}
	switch {
	case last == nil:
		m.Capture.nothing()
		return true
	case first == nil && s.CNI != Yes:
		m.CNI = Unknown
	}
	m.Late = m.CNI == Yes
	uid := int64(linkerdUID)
	if last.UID != NoID {
		uid = last.UID
	}
	m.linkerdUnderPlugin(p.Target, s, uid)
	if m.Unlisted {
		p.Doubt("what Linkerd's CNI plugin exempts is not known (ConfigMap linkerd-cni-config was not read)")
	}
	return true
}

// linkerdUnderPlugin sets what the node plugin redirects. An annotation that is empty counts as absent there. Which user the plugin
// lets through is not known where its configuration was not read: the proxy's, for else no pod would work.
func (m *Mesh) linkerdUnderPlugin(t *Target, s *Settings, uid int64) {
	own := s.CNI == Yes && s.ListsKnown()
	outbound, said := linkerdNotEmpty(t, linkerdSkipOutbound)
	if !said && own {
		outbound = s.ExcludePorts
	}
	m.Unlisted = !said && !own
	m.Capture.ExcludePorts = linkerdPorts(outbound)
	inbound, said := linkerdNotEmpty(t, linkerdSkipInbound)
	if !said && own {
		inbound = s.ExcludeInbound
	}
	_, subnets := linkerdNotEmpty(t, linkerdSkipSubnets)
	m.Capture.Inbound = Inbound{Known: (said || own) && !subnets, Exclude: linkerdPorts(inbound)}
	m.ProxyUID, m.ProxyGID = uid, NoID
	if own {
		m.ProxyUID, m.ProxyGID = linkerdUID, parseID(s.Metadata[linkerdPluginGID])
		if plugins := parseID(s.Metadata[linkerdPluginUID]); plugins > 0 {
			m.ProxyUID = plugins
		}
		m.Capture.OnlyIPv4 = s.Metadata[linkerdPluginNoIPv6] == "true"
	}
	m.ProxyUID, m.ProxyGID = linkerdID(t, linkerdProxyUID, m.ProxyUID), linkerdID(t, linkerdProxyGID, m.ProxyGID)
	m.linkerdIDs()
}

func linkerdNotEmpty(t *Target, key string) (string, bool) {
	if value := t.Annotation(key); value != "" {
		return value, true
	}
	value := t.Namespace.Annotations[key]
	return value, value != ""
}

// linkerdIDs lets the proxy's ids pass; there is a rule for a group only where it is more than 0.
func (m *Mesh) linkerdIDs() {
	if m.ProxyUID > 0 {
		m.Capture.UIDs = []int64{m.ProxyUID}
	}
	if m.ProxyGID > 0 {
		m.Capture.GIDs = []int64{m.ProxyGID}
	}
}

// linkerdArguments reads the command line of linkerd2-proxy-init (proxy-init/cmd/root.go). A list that is there twice goes on.
func (m *Mesh) linkerdArguments(args []string) {
	c := &m.Capture
	c.Inbound.Known = true
	m.ProxyUID, m.ProxyGID = linkerdUID, NoID
	for i, arg := range args {
		name, value, joined := strings.Cut(arg, "=")
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		switch name {
		case "--proxy-uid", "-u":
			m.ProxyUID = parseID(value)
		case "--proxy-gid", "-g":
			m.ProxyGID = parseID(value)
		case "--outbound-ports-to-ignore":
			c.ExcludePorts = append(c.ExcludePorts, linkerdPorts(value)...)
		case "--inbound-ports-to-ignore":
			c.Inbound.Exclude = append(c.Inbound.Exclude, linkerdPorts(value)...)
		case "--ports-to-redirect", "-r":
			c.Inbound.Listed, c.Inbound.Include = true, linkerdPorts(value)
		case "--subnets-to-ignore":
			c.Inbound.Known = false // who connects decides
		case "--ipv6":
			c.OnlyIPv4 = joined && value == "false"
		}
	}
	m.linkerdIDs()
}

// linkerdPorts returns the entries of a list that take effect: the others are logged, and passed over (pkg/iptables,
// makeMultiportDestinations).
func linkerdPorts(list string) []Ports {
	if list == "" {
		return nil
	}
	out := make([]Ports, 0, strings.Count(list, ",")+1)
	for entry := range strings.SplitSeq(list, ",") {
		if p, err := parseLinkerdPort(entry); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// parseLinkerdPorts reads a whole list; an entry that Linkerd would pass over is an error. A space makes it one.
func parseLinkerdPorts(list string) ([]Ports, error) {
	if list == "" {
		return nil, nil
	}
	out := make([]Ports, 0, strings.Count(list, ",")+1)
	for entry := range strings.SplitSeq(list, ",") {
		p, err := parseLinkerdPort(entry)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// parseLinkerdPort reads 8200 or 4567-4568 (pkg/util/portrange.go).
func parseLinkerdPort(entry string) (Ports, error) {
	first, last, ranged := strings.Cut(entry, "-")
	if !ranged {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	switch {
	case errA == nil && errB == nil && a <= b:
		return Ports{uint16(a), uint16(b)}, nil
	case entry == "":
		return Ports{}, fmt.Errorf("%q: %w", entry, errEmptyEntry)
	case strings.ContainsAny(entry, " \t"):
		return Ports{}, fmt.Errorf("%q: %w", entry, errSpace)
	}
	return Ports{}, fmt.Errorf("%q: %w", entry, errNotRange)
}

// checkLinkerdSubnets: entries are trimmed, and one that is no range makes linkerd-init, or the node plugin, fail.
func checkLinkerdSubnets(list string) error {
	if list == "" {
		return nil
	}
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if _, err := netip.ParsePrefix(entry); err != nil {
			return fmt.Errorf("%q: %w", entry, cidrFault(entry))
		}
	}
	return nil
}
