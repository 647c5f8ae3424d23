package injectors

import (
	"encoding/json"
	"slices"
	"strings"
)

// consulInjects does what the webhook does (connect-inject/webhook/mesh_webhook.go): the init container last; the dataplane
// behind it where it is a native sidecar, else the first container where its lifecycle is managed, or the last.
func consulInjects(p *Plan, i *Injector, s *Settings) {
	t := p.Target
	if p.has(i) {
		return
	}
	native := s.Native
	if value := t.Annotation(consulNative); value != "" {
		native = TriOf(truthy(value, false))
	}
	first := Step{Name: consulInit, Phase: Init, Role: Dialer, Injector: i}
	first.UID, first.GID = podIDs(t)
	proxy := Step{Name: consulProxy, Phase: Main, Role: Proxy, Injector: i}
	m := Mesh{Injector: i, CNI: s.CNI, Native: native, Hold: No}
	initUID := m.consulIDs(p, s, &proxy)
	transparent := consulTransparently(t, s)
	if transparent == Unknown {
		p.Doubt("whether Consul redirects the pod is not known")
	}
	redirects := transparent != No && !(m.CNI == Yes && t.Spec.HostNetwork) // no plugin is called for the host's network
	if redirects {
		first.consulRedirects(m.CNI, initUID)
	}
	managed := s.Metadata[consulFlagLifecycle]
	if value := t.Annotation(consulLifecycle); value != "" {
		managed = value
	}
	services := strings.Split(t.Annotation(consulService), ",")
	for _, service := range services {
		first, proxy := first, proxy
		if len(services) > 1 {
			first.Name, proxy.Name = consulInit+"-"+service, consulProxy+"-"+service
		}
		p.Add(first, false)
		if native == Yes {
			proxy.Phase, proxy.Gated = Native, true // by a startup probe that asks Envoy
			p.Add(proxy, false)
			continue
		}
		p.Add(proxy, truthy(managed, false))
	}
	if redirects {
		consulAnnotated(p, &m.Capture)
		p.set(m)
	}
}

// consulRedirects makes the init container the one that redirects, or the one that stands for the node plugin
// (connect-inject/webhook/container_init.go).
func (s *Step) consulRedirects(cni Tri, uid int64) {
	switch cni {
	case Yes:
		s.Role, s.UID, s.GID = Validator, uid, uid
	case No, Unknown:
		s.Role, s.UID, s.GID = Installer, 0, 0
	}
}

// consulIDs finds the users of both containers, whom the redirect lets pass, and returns that of the init container. On OpenShift the init container gets the last
// user of the namespace's range that none of the pod's containers has, and the dataplane the one before
// (connect-inject/common/openshift.go).
func (m *Mesh) consulIDs(p *Plan, s *Settings, proxy *Step) (initUID int64) {
	uid, initUID := int64(consulUID), int64(consulInitUID)
	if truthy(s.Metadata[consulFlagOpenShift], false) {
		initUID = consulFree(p, lastOfRange(p.Target.Namespace.Annotations["openshift.io/sa.scc.uid-range"], NoID))
		uid = consulFree(p, initUID-1)
		if initUID < 0 {
			p.Doubt("the users of the namespace are not known")
		}
	}
	if s.ProxyUID != 0 {
		uid = s.ProxyUID
	}
	proxy.UID, proxy.GID = uid, uid
	m.ProxyUID, m.ProxyGID = uid, NoID
	m.Capture.UIDs = []int64{uid, initUID}
	return initUID
}

// consulFree returns the highest user up to the one given that none of the pod's containers has.
func consulFree(p *Plan, uid int64) int64 {
	for uid >= 0 && slices.ContainsFunc(p.Mains, func(s Step) bool { return s.UID == uid }) {
		uid--
	}
	return max(uid, NoID)
}

// consulAnnotated reads what the webhook renders from the pod's annotations.
func consulAnnotated(p *Plan, c *Capture) {
	a := p.Target.Meta.Annotations
	list := func(key string) []string {
		value, ok := a[key]
		if !ok {
			return nil
		}
		return strings.Split(value, ",")
	}
	c.consul(p, &consulRedirect{
		ExcludeOutboundCIDRs: list(consulExcludeCIDRs), ExcludeOutboundPorts: list(consulExcludePorts), ExcludeUIDs: list(consulExcludeUIDs),
		ExcludeInboundPorts: list(consulExcludeInPort),
	})
}

// consulRedirect is the part that matters of a redirect as it is rendered: iptables.Config or nftables.Config, whose fields
// have no names of their own in JSON (consul, sdk/iptables/iptables.go and sdk/nftables/nftables.go).
type consulRedirect struct {
	ProxyUserID                                                                  string
	ExcludeInboundPorts, ExcludeOutboundPorts, ExcludeOutboundCIDRs, ExcludeUIDs []string
}

// consul sets what the redirect lets pass: ports, addresses and users before all else, the proxy's own user, loopback. TCP
// alone is taken. Names are asked for at 127.0.0.1, where the dataplane answers once it serves, and at the cluster's server
// where it does not (connect-inject/webhook/dns.go).
func (c *Capture) consul(p *Plan, r *consulRedirect) {
	unread := false
	for _, entry := range r.ExcludeOutboundCIDRs {
		ranges, err := ParseAddresses(entry)
		c.Exclude, unread = append(c.Exclude, ranges...), unread || err != nil
	}
	for _, entry := range r.ExcludeOutboundPorts {
		ports, err := ParseColonRanges(entry)
		c.ExcludePorts, unread = append(c.ExcludePorts, ports...), unread || err != nil
	}
	for _, entry := range r.ExcludeUIDs {
		users, ok := consulUsers(entry)
		if !ok {
			unread = true
			continue
		}
		c.Users = append(c.Users, users)
	}
	c.Inbound.Known = true
	for _, entry := range r.ExcludeInboundPorts {
		ports, err := ParseColonRanges(entry)
		c.Inbound.Exclude, c.Inbound.Known = append(c.Inbound.Exclude, ports...), c.Inbound.Known && err == nil
	}
	if unread {
		p.Doubt("what Consul exempts cannot be read")
	}
}

// consulObserve reads the redirect where it was rendered: in the environment of the init container, which then makes it
// itself, or in the annotation that the node plugin reads, which leaves alone a pod without both marks
// (control-plane/cni/main.go). In a pod that has neither nothing is redirected, and the init container only calls Consul's
// servers; gateways have one as well.
func consulObserve(p *Plan, m *Mesh, first, _ *Step) bool {
	t := p.Target
	rendered := ""
	if c := p.Container(first); c != nil {
		rendered = envOr(c.Env, consulConfig, "")
	}
	m.CNI = TriOf(rendered == "")
	if m.CNI == Yes {
		if t.Annotation(consulStatus) != "" && t.Annotation(consulRedirected) != "" && !t.Spec.HostNetwork {
			rendered = t.Annotation(consulRendered)
		}
		if first != nil {
			first.Role = Validator
		}
	}
	if rendered == "" {
		if first != nil {
			first.Role = Dialer
		}
		return false
	}
	var r consulRedirect
	if err := json.Unmarshal([]byte(rendered), &r); err != nil {
		p.Doubt("the redirect that Consul rendered cannot be read")
	}
	m.ProxyUID, m.ProxyGID = consulUID, NoID
	if id := parseID(r.ProxyUserID); id >= 0 {
		m.ProxyUID = id
	}
	m.Capture.UIDs = []int64{m.ProxyUID, consulInitUID}
	if len(r.ExcludeUIDs) > 0 { // the first of them is the init container's
		if id := parseID(r.ExcludeUIDs[0]); id >= 0 {
			m.Capture.UIDs[1], r.ExcludeUIDs = id, r.ExcludeUIDs[1:]
		}
	}
	m.Capture.consul(p, &r)
	return true
}
