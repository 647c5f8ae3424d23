package diagnose

import (
	"context"
	"errors"
	"net"
	"strings"

	"holdfast.dev/holdfast/report"
)

func injectorAddress() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF232", Name: "injector-address", Severity: report.Error,
			Title: "its entries call one place, by a name that resolves",
			Why:   "Entries of one configuration that call different places are what is left of two installations. A URL is resolved by the API server's own machine, which does not know the names of the cluster's DNS, and reaches 127.0.0.1 on itself alone; a name that does not resolve fails every call with \"no such host\".",
			Fix:   "Let the installer write the configuration again, so that all entries call the same; for what runs in the cluster, clientConfig.service instead of a URL.",
		},
		Needs: []string{"HF231"},
		ask:   aboutNeighbour(oneAddress),
	}
}

func oneAddress(ctx context.Context, s *Subject, n *neighbour) Result {
	look := "kubectl get " + n.where() + ` -o jsonpath='{range .webhooks[*]}{.name}{"\t"}{.clientConfig.url}{.clientConfig.service}{"\n"}{end}'`
	callees := n.callees()
	for _, c := range callees {
		if c.url == "" {
			continue
		}
		if r := s.resolves(ctx, c); r != nil {
			if r.Fix == "" {
				r.Fix = look
			}
			return *r
		}
	}
	if len(callees) > 1 {
		return warn("Compare, and let the installer write it again: "+look, "the entries of %s call different places: %s, and %s for %s", n.where(), callees[0], callees[1], n.firstOf(callees[1]))
	}
	if loopback(callees[0]) {
		return passed("%s, on each API server's own machine", callees[0])
	}
	return passed("%s", callees[0])
}

// firstOf returns the name of the first entry that calls a place.
func (n *neighbour) firstOf(c callee) string {
	for _, e := range n.entries {
		if e.callee() == c {
			return e.Name
		}
	}
	return ""
}

// resolves looks for the host of a URL; nil where nothing is wrong with it. Only the server is in the cluster, and even its
// resolver is not the API server's.
func (s *Subject) resolves(ctx context.Context, c callee) *Result {
	host, _, err := net.SplitHostPort(c.address())
	if err != nil || host == "" {
		r := failed("", "%q is no address", c.url)
		return &r
	}
	if strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".cluster.local") {
		r := warn("Use clientConfig.service (namespace, name, port, path) instead of a URL.",
			"host %s is a name of the cluster's DNS, which the API server's machine does not ask", host)
		return &r
	}
	if loopback(c) {
		return nil
	}
	looking, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	connection, err := s.Dial(looking, c.address())
	if err == nil {
		_ = connection.Close()
	}
	var unresolved *net.DNSError
	if !errors.As(err, &unresolved) || !unresolved.IsNotFound {
		return nil
	}
	if s.Server == nil {
		r := warn("", "host %s does not resolve from here: %v", host, unresolved)
		return &r
	}
	r := failed("", "host %s does not resolve in the cluster (no such host): every call fails", host)
	return &r
}

// loopback tells that only the API server's own machine can connect.
func loopback(c callee) bool {
	host, _, err := net.SplitHostPort(c.address())
	if c.url == "" || err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
