package injectors

import (
	"net/netip"
	"strings"
)

// resolve fills in the addresses of an endpoint as a container of the pod finds them: literal ones; loopback for localhost;
// those that the pod's /etc/hosts has, which is asked before any server; the ClusterIPs of a Service.
func (p *Plan) resolve(to Endpoint) Endpoint {
	if len(to.Addrs) > 0 || to.Host == "" {
		return to
	}
	if a, ok := literal(to.Host); ok {
		if a.IsUnspecified() { // Linux connects to itself
			return within(to.Host, to.Port)
		}
		to.Addrs = []netip.Addr{a}
		return to
	}
	if to.Host == "localhost" || strings.HasSuffix(to.Host, ".localhost") { // RFC 6761, section 6.3
		return within(to.Host, to.Port)
	}
	if to.Addrs = p.hosts(to.Host); len(to.Addrs) > 0 {
		to.Static = true
		return to
	}
	to.Addrs = p.Env.serviceAddrs(to.Host, p.Target.Namespace.Name)
	return to
}

// hosts returns the addresses that spec.hostAliases gives a name.
func (p *Plan) hosts(host string) []netip.Addr {
	var addrs []netip.Addr
	for i := range p.Target.Spec.HostAliases {
		alias := &p.Target.Spec.HostAliases[i]
		for _, name := range alias.Hostnames {
			if !strings.EqualFold(name, host) {
				continue
			}
			if a, err := netip.ParseAddr(alias.IP); err == nil {
				addrs = append(addrs, a)
			}
			break
		}
	}
	return addrs
}

// serviceAddrs returns the ClusterIPs of a Service.
func (e *Env) serviceAddrs(host, namespace string) []netip.Addr {
	svc, ok := e.service(host, namespace)
	if !ok {
		return nil
	}
	return svc.ClusterIPs
}

// service looks up a Service named in the usual forms: name.namespace.svc, name.namespace.svc.cluster.local, name.namespace; a
// bare name means the pod's own namespace.
func (e *Env) service(host, namespace string) (Service, bool) {
	if e.Services == nil || host == "" {
		return Service{}, false
	}
	name, rest, dotted := strings.Cut(host, ".")
	if dotted {
		var domain string
		namespace, domain, _ = strings.Cut(rest, ".")
		if domain != "" && domain != "svc" && !strings.HasPrefix(domain, "svc.") {
			return Service{}, false
		}
	}
	return e.Services(namespace, name)
}
