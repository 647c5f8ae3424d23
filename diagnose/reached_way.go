package diagnose

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
)

// The agents of the tunnel from the control plane to the nodes, as GKE and AKS name their Deployment.
const restartTunnel = "kubectl -n kube-system rollout restart deploy/konnectivity-agent"

// blocked is for calls that got no answer at all.
func (s *Subject) blocked(ctx context.Context, called string, port int) (cause, fix string) {
	cause = "the control plane gets no answer from " + called
	if l := s.needed["HF212"]; l != nil && l.State == Warning {
		return cause + ", which a network policy may have closed (HF212)", l.Fix
	}
	if s.othersReach() {
		return cause + ", other pods do: a firewall between the control plane and the nodes drops it", s.openWay(ctx, port, false)
	}
	return cause + ": something in between drops it, or the server hangs", steps("See whether the server hangs, and start it anew:", s.logs(), s.restart(ctx),
		"If it stays so, something in between drops the connection.", s.openWay(ctx, port, false))
}

// rejected is for connections that were refused.
func (s *Subject) rejected(ctx context.Context, called string, port int) (cause, fix string) {
	cause = "the control plane's connection to " + called + " is refused"
	if s.othersReach() { // so that somebody listens
		return cause + ", that of other pods is not: a firewall between the control plane and the nodes rejects it", s.openWay(ctx, port, true)
	}
	return cause + ": nothing listens there, or a firewall rejects it", steps("See what the server says, and start it anew:", s.logs(), s.restart(ctx),
		"If it stays so, and the log is clean, something in between rejects the connection.", s.openWay(ctx, port, true))
}

// othersReach tells whether a pod of the cluster gets answers at the addresses that the API server calls.
func (s *Subject) othersReach() bool {
	l := s.needed["HF214"]
	return l != nil && l.State == Passed
}

// openWay is how the way from the control plane to our pods is opened, with the addresses that a firewall needs.
func (s *Subject) openWay(ctx context.Context, port int, refused bool) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	p := s.Platform(ctx)
	if p.Cloud != Other {
		return steps(OpenPort(p, port, "Holdfast's"), s.addresses(ctx))
	}
	if pods, err := s.pods(ctx); err == nil {
		for i := range pods {
			if ip := pods[i].Status.PodIP; ip != "" {
				p.Pods = append(p.Pods, ip)
			}
		}
	}
	l := s.needed["HF212"]
	p.Inside = l != nil && (l.State == Passed || l.State == NotApplicable)
	if refused && s.othersReach() { // a missing route is no refusal
		return OpenPort(p, port, "Holdfast's")
	}
	return steps(OpenPort(p, port, "Holdfast's"), fmt.Sprintf("If the pods have addresses of an overlay network (Calico, Cilium) that the control plane has no way to, no rule helps: "+
		"run Holdfast in the network of the nodes (hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet in its Deployment), where its ports %d, 8080 and 8081 have to be free.", s.port(ctx)))
}

// addresses says where our servers are, and on which machines.
func (s *Subject) addresses(ctx context.Context) string {
	pods, err := s.pods(ctx)
	if err != nil {
		return ""
	}
	var at, nodes []string
	for i := range pods {
		if pods[i].Status.PodIP != "" {
			at = append(at, net.JoinHostPort(pods[i].Status.PodIP, fmt.Sprint(s.port(ctx))))
		}
		if node := pods[i].Spec.NodeName; node != "" && !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	switch {
	case len(at) == 0:
		return ""
	case len(nodes) == 0:
		return "Where it has to lead to now: " + list(at) + "."
	}
	return "Where it has to lead to now: " + list(at) + ", on " + list(nodes) + "."
}

// hostNetwork has our pods share the network of their nodes, at addresses that every control plane reaches.
func (s *Subject) hostNetwork(ctx context.Context) string {
	patch := encode(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}}}})
	d, err := s.deployment(ctx)
	name, keeper := s.Own.Service, ""
	if err == nil && d != nil {
		name, keeper = d.Name, s.owned(d)
	}
	return steps(fmt.Sprintf("Run Holdfast in the network of the nodes, where its ports (%d, 8080, 8081) have to be free:", s.port(ctx)),
		s.kubectl()+" patch deployment "+name+" --type=merge -p '"+patch+"'", keeper)
}

// cutOff is for connections that ended before an answer.
func (s *Subject) cutOff(ctx context.Context, called string) (cause, fix string) {
	if l := s.needed["HF213"]; l != nil && l.State == Warning {
		return "what stands at " + called + " ends the connection: a mesh's proxy is in front of it (HF213)", l.Fix
	}
	return "what stands at " + called + " ends the connection: a proxy in front of it, or a server that is going away",
		steps("A server that goes away is gone in a minute; have new ones, and ask again:", s.restart(ctx), s.askAgain(ctx),
			"If it stays so, look for a proxy in the pods, or between them and the control plane:", s.kubectl()+" get pods -o wide", s.logs())
}

// unresolved is for a name that the API server cannot resolve.
func (s *Subject) unresolved(ctx context.Context, entries []*Entry) string {
	if !byURL(entries) {
		return "Look at the DNS of the control plane's machines: a Service is called by its address, so that something must make the API server look names up, such as an egress configuration or a proxy."
	}
	const dns = "Look at the DNS of the control plane's machines, which is not CoreDNS."
	if service, err := s.Service(ctx, s.Own.Namespace, s.Own.Service); err != nil || service == nil {
		return dns
	}
	var called []*Entry
	for _, e := range entries {
		if e.ClientConfig.URL != nil {
			called = append(called, e)
		}
	}
	return steps("Call the Service in place of the URL:", patchEach(called, func(e *Entry) []op {
		return []op{{Op: "remove", Path: "/clientConfig/url"}, {"add", "/clientConfig/service", map[string]any{"namespace": s.Own.Namespace, "name": s.Own.Service, "path": wantedPath(e), "port": 443}}}
	}), "If Holdfast is meant to be called by URL: l"+strings.TrimPrefix(dns, "L"))
}
