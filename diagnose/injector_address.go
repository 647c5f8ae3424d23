package diagnose

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"holdfast.dev/holdfast/report"
)

// addressCode is asked from here and from the cluster: names resolve differently.
const addressCode = "HF232"

func injectorAddress() Probe {
	return Probe{
		Topic: report.Topic{
			Code: addressCode, Name: "injector-address", Severity: report.Error,
			Title: "its entries call one place, by a name that resolves",
			Why:   "Entries of one configuration that call different places are what is left of two installations. A URL is resolved by the API server's own machine, which does not know the names of the cluster's DNS, and reaches 127.0.0.1 on itself alone; a name that does not resolve fails every call with \"no such host\".",
			Fix:   "For what runs in the cluster, have the entries call its Service instead of a URL; else repair the name where the control plane's machines look for it. Entries that call different places are for the installer to write again.",
		},
		Needs: []string{"HF231"},
		ask:   aboutNeighbour(oneAddress),
	}
}

func oneAddress(ctx context.Context, s *Subject, n *neighbour) Result {
	callees := n.callees()
	for _, c := range callees {
		if c.url == "" {
			continue
		}
		if r := s.resolves(ctx, n, c); r != nil {
			return *r
		}
	}
	if len(callees) > 1 {
		return warn(steps("Only one of them can be right. Compare, and have the installer of "+n.title+" write the configuration again:",
			"kubectl get "+n.where()+` -o jsonpath='{range .webhooks[*]}{.name}{"\t"}{.clientConfig.url}{.clientConfig.service}{"\n"}{end}'`, n.kept()),
			"the entries of %s call different places: %s, and %s for %s", n.where(), callees[0], callees[1], n.firstOf(callees[1]))
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
func (s *Subject) resolves(ctx context.Context, n *neighbour, c callee) *Result {
	of := n.at(c)
	entries := fmt.Sprintf("%s of %s", whichOf(of, len(n.entries)), n.where())
	host, _, err := net.SplitHostPort(c.address())
	if err != nil || host == "" {
		r := failed(steps("Have the installer of "+n.title+" write the URL again.", n.kept()), "%s: %q is no address", entries, c.url)
		return &r
	}
	if strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".cluster.local") {
		r := warn(s.callService(ctx, n, of, serviceOf(c, host)), "%s: host %s is a name of the cluster's DNS, which the API server's machine does not ask", entries, host)
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
	here := s.inCluster(ctx, n)
	if s.Server == nil {
		if l := s.there(ctx, addressCode); l != nil && l.State == Failed { // it is nearer to the API server
			r := l.result()
			return &r
		}
		r := warn(steps("If the API server does not resolve it either, which HF238 tells, this is what to do.", s.callService(ctx, n, of, here)), "%s: host %s does not resolve (no such host), asked from the machine on which this runs", entries, host)
		return &r
	}
	r := failed(s.callService(ctx, n, of, here), "%s: host %s does not resolve (no such host), asked from a pod of Holdfast's", entries, host)
	return &r
}

// at returns the entries that call a place.
func (n *neighbour) at(c callee) []*Entry {
	var out []*Entry
	for _, e := range n.entries {
		if e.callee() == c {
			out = append(out, e)
		}
	}
	return out
}

// whichOf names entries, of so many.
func whichOf(entries []*Entry, all int) string {
	if len(entries) == all && all > 1 {
		return fmt.Sprintf("all %d entries", all)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return list(names)
}

// serviceOf reads a Service from a name of the cluster's DNS.
func serviceOf(c callee, host string) callee {
	parts := strings.Split(strings.TrimSuffix(host, ".cluster.local"), ".")
	if len(parts) < 2 {
		return callee{}
	}
	_, number, _ := net.SplitHostPort(c.address())
	port, _ := strconv.ParseInt(number, 10, 32)
	return callee{name: parts[0], namespace: parts[1], port: int32(port)}
}

// inCluster finds the Service behind which the same program runs in the cluster: what another of its configurations calls. Its name is
// empty where there is none: anybody may make a Deployment that looks like an injector's.
func (s *Subject) inCluster(ctx context.Context, n *neighbour) callee {
	for _, other := range n.all.list {
		if other.title != n.title || other.resting {
			continue
		}
		for _, c := range other.callees() {
			if b, err := s.behind(ctx, c); err == nil && b.service != nil && b.port != nil && !abandoned(b) {
				return c
			}
		}
	}
	return callee{}
}

// callService is how entries call a Service in place of a URL.
func (s *Subject) callService(ctx context.Context, n *neighbour, entries []*Entry, to callee) string {
	const dns = "have the name resolve for the control plane's machines, which do not ask the cluster's DNS"
	if to.name == "" {
		return steps("If "+n.title+" runs in this cluster, have its installer write the configuration again, with a Service in place of the URL.",
			"If it runs elsewhere, "+dns+".", n.kept())
	}
	call := "Call " + to.String() + " of this cluster instead (if " + n.title + " runs elsewhere on purpose, " + dns + "):"
	after := ""
	switch b, err := s.behind(ctx, to); {
	case err != nil:
	case b.service == nil || b.port == nil:
		return steps(fmt.Sprintf("Have the installer of %s write the configuration again: %s has no port %d to call instead.", n.title, to, to.port), n.kept())
	default:
		after = s.adopted(ctx, n, b)
	}
	patch := patchEach(entries, func(e *Entry) []op {
		service := map[string]any{"namespace": to.namespace, "name": to.name, "path": e.Path(), "port": to.port}
		return []op{{Op: "remove", Path: "/clientConfig/url"}, {"add", "/clientConfig/service", service}}
	})
	return steps(call, patch, n.kept(), after)
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
