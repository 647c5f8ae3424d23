package diagnose

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"syscall"

	"holdfast.dev/holdfast/report"
)

// connectGroup is asked only where somebody names addresses.
const connectGroup = "connect"

// addresses are the objects of that group.
func addresses(_ context.Context, s *Subject) ([]*Object, error) {
	var out []*Object
	for _, a := range s.Connect {
		out = append(out, &Object{Name: a})
	}
	return out, nil
}

func connectTo() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF260", Name: "connect", Severity: report.Error,
			Title: "the address accepts connections from here",
			Why:   "An address that was given with --connect cannot be reached from where the command runs: its name does not resolve, nothing listens, or something in between drops the packets.",
			Fix:   "The message tells the three apart. Run the command where the program runs that should connect: kubectl exec, or a pod of the same namespace.",
		},
		ask: func(ctx context.Context, s *Subject) Result {
			at := s.About.Name
			host, port, err := net.SplitHostPort(at)
			if err != nil {
				return failed("Give it as HOST:PORT.", "%v", err)
			}
			c, err := s.Dial(ctx, at)
			if err != nil {
				return unreachable(ctx, err, host, port)
			}
			defer c.Close()
			return passed("%s: %s", c.RemoteAddr(), speaks(ctx, c, host))
		},
	}
}

func unreachable(ctx context.Context, err error, host, port string) Result {
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		return failed(unresolved(host), "the name does not resolve: %v", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return failed("Start what should listen at port "+port+" of "+host+". If it runs, a firewall on the way rejects the connection.", "the connection is refused: %v", err)
	case ctx.Err() != nil || dialTimedOut(err):
		return failed("Open port "+port+" of "+host+" for connections from here: firewall, security group, network policy.", "no answer: something in between drops the packets, or %s is no address of a running machine", host)
	}
	return failed("See whether there is a route from here to "+host+", and what listens at its port "+port+".", "%v", err)
}

// unresolved is what to look at where a name is not known.
func unresolved(host string) string {
	parts := strings.Split(strings.TrimSuffix(host, ".cluster.local"), ".")
	if len(parts) == 3 && parts[2] == "svc" {
		return steps("Names of the cluster's DNS resolve in pods alone. See whether the Service is there, and ask from a pod:",
			"kubectl -n "+parts[1]+" get service "+parts[0])
	}
	return "Check the spelling of " + host + ", and the DNS server that is asked here."
}

func dialTimedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// speaks says what the other side speaks, as far as a TLS client can tell.
func speaks(ctx context.Context, c net.Conn, host string) string {
	// Only looked at: nothing is sent.
	t := tls.Client(c, &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}) //nolint:gosec // see above
	if err := t.HandshakeContext(ctx); err != nil {
		return "it connects; no TLS (" + err.Error() + ")"
	}
	state := t.ConnectionState()
	leaf := state.PeerCertificates[0]
	words := []string{"it connects, TLS", "certificate for " + list(leaf.DNSNames), "until " + day(leaf.NotAfter)}
	if state.NegotiatedProtocol == "h2" {
		words = append(words, "HTTP/2, as gRPC needs")
	}
	return strings.Join(words, ", ")
}
