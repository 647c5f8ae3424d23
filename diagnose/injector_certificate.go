package diagnose

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast.dev/holdfast/report"
)

// dialPatience bounds one attempt: several run at once, within the patience of a probe.
const dialPatience = 3 * time.Second

// certificateCode is asked by whoever is in the cluster; where that is nobody, what comes after it is asked all the same.
const certificateCode = "HF236"

func injectorCertificate() Probe {
	return Probe{
		Topic: report.Topic{
			Code: certificateCode, Name: "injector-certificate", Severity: report.Error,
			Title: "its endpoints answer with a certificate that the configuration trusts",
			Why:   "Connected to as the API server would, but from another pod, the injector's endpoints refuse, do not answer, or present a certificate that the configuration's caBundle does not verify, or that is for another name: an injector with a new CA and an old configuration (or the reverse), two installations that write the same one, or a port at which something else listens.",
			Fix:   "Restart the injector, which puts its CA into the configuration; for a connection that is refused or hangs, look at its pods, network policies, and a mesh's proxy in front of them.",
		},
		Needs: []string{"HF232", "HF234", "HF235"},
		ask:   aboutNeighbour(trusted),
	}
}

// attempt is what one endpoint answered.
type attempt struct {
	callee  callee
	address string
	chain   []*x509.Certificate
	err     error
}

func trusted(ctx context.Context, s *Subject, n *neighbour) Result {
	if s.Server == nil {
		return s.fromServer(ctx, &Probe{Topic: report.Topic{Code: certificateCode}})
	}
	attempts, err := s.attempts(ctx, n)
	if err != nil {
		return cannot(err)
	}
	if len(attempts) == 0 {
		return notApplicable("only the API server's own machine can connect to it")
	}
	var answered []string
	var silent *Result
	for i := range attempts {
		a := &attempts[i]
		switch r := s.judge(ctx, n, a); {
		case r == nil:
			answered = append(answered, a.address)
		case r.State == Failed:
			return *r
		case silent == nil:
			silent = r
		}
	}
	if silent != nil {
		return *silent
	}
	return passed("%s, tried from here, not from the API server", list(answered))
}

// attempts connects to all that the entries call, a few endpoints each, at once.
func (s *Subject) attempts(ctx context.Context, n *neighbour) ([]attempt, error) {
	var all []attempt
	for _, c := range n.callees() {
		if c.url != "" {
			if !loopback(c) {
				all = append(all, attempt{callee: c, address: c.address()})
			}
			continue
		}
		b, err := s.behind(ctx, c)
		if err != nil {
			return nil, err
		}
		for _, at := range b.ready[:min(len(b.ready), mostDialled)] {
			all = append(all, attempt{callee: c, address: at})
		}
	}
	all = all[:min(len(all), 2*mostDialled)]
	ctx, cancel := context.WithTimeoutCause(ctx, dialPatience, errNoAnswer)
	defer cancel()
	var group sync.WaitGroup
	for i := range all {
		a := &all[i]
		group.Go(func() { a.chain, a.err = s.handshake(ctx, a.address, n.host(a.callee)) })
	}
	group.Wait()
	return all, nil
}

// host is the name that the certificate has to bear.
func (n *neighbour) host(c callee) string {
	for _, e := range n.entries {
		if e.callee() == c {
			return e.Host()
		}
	}
	return ""
}

// judge holds what an endpoint answered against what the API server believes; nil where it is right.
func (s *Subject) judge(ctx context.Context, n *neighbour, a *attempt) *Result {
	pods := "kubectl get pods -A -o wide, and look for " + a.address
	if a.callee.name != "" {
		of := "kubectl -n " + a.callee.namespace
		pods = of + " get pods -o wide; " + of + " get networkpolicies"
		if b, err := s.behind(ctx, a.callee); err == nil && b.deployment != nil {
			pods = of + " get pods -o wide; " + of + " logs deploy/" + b.deployment.Name + " --tail=50; " + of + " get networkpolicies"
		}
	}
	var r Result
	switch {
	case a.err != nil && refused(a.err):
		r = failed(pods, "%s refuses the connection, tried from here: nothing listens there, or a firewall rejects; %s", a.address, n.loss())
	case a.err != nil && dialTimedOut(a.err) || errors.Is(a.err, context.DeadlineExceeded) || errors.Is(a.err, errNoAnswer):
		r = warn(pods, "no answer from %s within %s, tried from here, not from the API server: a firewall or network policy drops it, or it hangs", a.address, round(dialPatience))
	case a.err != nil:
		r = failed(pods, "%s does not speak TLS, tried from here: %v", a.address, a.err)
	default:
		problem, another := n.disbelief(a, s.Now())
		if problem == "" {
			return nil
		}
		fix := s.bundleAgain(ctx, n)
		if another {
			fix = "Something else answers there. " + pods
		}
		r = failed(fix, "%s: %s; %s", a.address, problem, n.loss())
	}
	return &r
}

func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EACCES)
}

// disbelief says why the API server would not accept a certificate; another tells that it is somebody else's.
func (n *neighbour) disbelief(a *attempt, now time.Time) (problem string, another bool) {
	leaf := a.chain[0]
	host := n.host(a.callee)
	switch {
	case now.After(leaf.NotAfter):
		return "its certificate expired on " + day(leaf.NotAfter), false
	case now.Before(leaf.NotBefore):
		return "its certificate is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339), false
	case leaf.VerifyHostname(host) != nil:
		return "its certificate is for " + list(leaf.DNSNames) + ", the API server calls " + host, true
	}
	problems := map[string][]string{}
	entries := 0
	for _, e := range n.entries {
		if e.callee() != a.callee {
			continue
		}
		entries++
		if problem := distrust(e, a.chain, now); problem != "" {
			problems[problem] = append(problems[problem], e.Name)
		} else if len(e.ClientConfig.CABundle) == 0 {
			if _, err := leaf.Verify(x509.VerifyOptions{Intermediates: pool(a.chain[1:]), CurrentTime: now}); err != nil {
				problem := "no caBundle, and the certificate is of no public CA (" + strings.TrimPrefix(err.Error(), "x509: ") + ")"
				problems[problem] = append(problems[problem], e.Name)
			}
		}
	}
	if len(problems) == 0 {
		return "", false
	}
	return fmt.Sprintf("the certificate that it presents is not trusted (x509: unknown authority): %s", tell(problems, entries)), false
}

func pool(chain []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for c := range slices.Values(chain) {
		p.AddCert(c)
	}
	return p
}
