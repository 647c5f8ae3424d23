package diagnose

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

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
			Fix:   "Put the CA of what is presented into the configuration, as the message tells; for a connection that is refused or hangs, look at its pods, network policies, and a mesh's proxy in front of them.",
		},
		Needs: []string{"HF232", "HF233", "HF234", "HF235"},
		ask:   aboutNeighbour(trusted),
	}
}

// attempt is what one endpoint answered.
type attempt struct {
	callee  callee
	address string
	chain   []*x509.Certificate
	mute    bool // it takes connections and answers nothing
	err     error
}

func trusted(ctx context.Context, s *Subject, n *neighbour) Result {
	if s.Server == nil {
		return s.withHealth(ctx, n, s.fromServer(ctx, &Probe{Topic: report.Topic{Code: certificateCode}}))
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
		switch r := s.judge(ctx, n, a, attempts); {
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

// The words of answers about connections.
const refuses, noAnswerFrom, mute = "refuses the connection", "no answer from", "takes connections and answers nothing"

// withHealth adds to the server's answer how the injector's pods are, which the server may not list.
func (s *Subject) withHealth(ctx context.Context, n *neighbour, r Result) Result {
	if !strings.Contains(r.Message, refuses) && !strings.Contains(r.Message, noAnswerFrom) && !strings.Contains(r.Message, mute) {
		return r
	}
	for _, c := range n.callees() {
		if c.url != "" {
			continue
		}
		b, err := s.behind(ctx, c)
		if err != nil {
			continue
		}
		if h := s.health(ctx, b, c); h.ill != "" {
			r.Message += "; " + h.ill
			if !strings.HasPrefix(r.Fix, elsewhere) {
				r.Fix = h.fix(b, c)
			}
			return r
		}
	}
	return r
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
	life := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, dialPatience, errNoAnswer)
	defer cancel()
	var group sync.WaitGroup
	for i := range all {
		a := &all[i]
		group.Go(func() {
			host := n.host(a.callee)
			if a.chain, a.err = s.handshake(ctx, a.address, host); a.err == nil {
				a.mute = errors.Is(s.talks(life, a.address, host, n.path(a.callee)), errMute)
			}
		})
	}
	group.Wait()
	return all, nil
}

// path is what is called there.
func (n *neighbour) path(c callee) string {
	for _, e := range n.entries {
		if e.callee() == c {
			return e.Path()
		}
	}
	return "/"
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

// believes tells that nothing is wrong with the CAs of a configuration, for what the endpoints of a place have presented.
func (n *neighbour) believes(c callee, attempts []attempt, now time.Time) bool {
	if slices.ContainsFunc(n.entries, func(e *Entry) bool { problem, _ := bundleNow(e, now); return problem != "" }) {
		return false
	}
	return !slices.ContainsFunc(attempts, func(a attempt) bool {
		if a.callee != c || a.err != nil {
			return false
		}
		_, kind := n.disbelief(&a, now)
		return kind != believed
	})
}

// judge holds what an endpoint answered against what the API server believes; nil where it is right. What the others answered tells
// whether the same stands with another configuration.
func (s *Subject) judge(ctx context.Context, n *neighbour, a *attempt, all []attempt) *Result {
	if a.err == nil {
		if r := s.judgeChain(ctx, n, a); r != nil || !a.mute {
			return r
		}
	}
	b, _ := s.behind(ctx, a.callee) // empty where nobody can tell
	h := s.health(ctx, b, a.callee)
	fix := s.unanswering(n, a.callee, b, h, refused(a.err))
	other := n.before(a.callee, func(o *neighbour) bool { return o.believes(a.callee, all, s.Now()) })
	if other != nil {
		fix = other.again(certificateCode)
	}
	r := a.silence(h, fix)
	if a.mute {
		hangs := s.hangs(ctx, n, a, b)
		if r = hangs; other != nil {
			r.Fix = fix
		}
	}
	return &r
}

// silence is the answer where nobody can be talked to.
func (a *attempt) silence(h health, fix string) Result {
	switch {
	case refused(a.err) && h.ill != "":
		return failed(fix, "%s %s, tried from here: %s", a.address, refuses, h.ill)
	case refused(a.err) && h.known:
		return failed(fix, "%s %s, tried from here, though its pod is ready: it serves another port, or a firewall rejects", a.address, refuses)
	case refused(a.err):
		return failed(fix, "%s %s, tried from here: nothing listens there, or a firewall rejects", a.address, refuses)
	case dialTimedOut(a.err) || errors.Is(a.err, context.DeadlineExceeded) || errors.Is(a.err, errNoAnswer):
		return warn(fix, "%s %s within %s, tried from here, not from the API server: a network policy or a firewall drops it, or it hangs", noAnswerFrom, a.address, round(dialPatience))
	}
	return failed(fix, "%s does not speak TLS, tried from here: %v", a.address, a.err)
}

// judgeChain does so with the certificate that was presented.
func (s *Subject) judgeChain(ctx context.Context, n *neighbour, a *attempt) *Result {
	problem, kind := n.disbelief(a, s.Now())
	var fix string
	switch kind {
	case believed:
		return nil
	case outdated:
		fix = s.restartFor(ctx, n, a.callee)
	case foreign:
		b, _ := s.behind(ctx, a.callee) // empty where nobody can tell
		fix = steps("Something else answers there, or its certificate was made for another name.", health{}.fix(b, a.callee))
	case unbelieved:
		fix = s.bundleAgain(ctx, n, n.untrusting(a.chain, a.callee, s.Now()), a.chain)
	}
	r := failed(fix, "%s: %s", a.address, problem)
	return &r
}

// unanswering is what to do about pods that do not answer anybody.
func (s *Subject) unanswering(n *neighbour, c callee, b *backing, h health, rejected bool) string {
	if c.name == "" {
		host, port, _ := net.SplitHostPort(c.address())
		return "Look for what should listen at port " + port + " of " + host + ", and at the firewalls and proxies in between."
	}
	policies := "kubectl -n " + c.namespace + " get networkpolicies"
	switch {
	case h.ill != "":
		return h.fix(b, c)
	case rejected && h.known:
		return steps("Look at what it says of the port:", h.fix(b, c))
	case rejected:
		return steps(h.fix(b, c), "If its pods are well, a firewall of the nodes or a network policy rejects the connection:", policies)
	}
	return steps("Look for a network policy that keeps callers from "+n.title+"'s pods, then at the pods:", policies, h.fix(b, c))
}

func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EACCES)
}

// disbelieved is what is wrong with a certificate.
type disbelieved int

const (
	believed disbelieved = iota
	outdated
	foreign    // it is somebody else's
	unbelieved // its CA is another than that of the entries
)

// disbelief says why the API server would not accept a certificate.
func (n *neighbour) disbelief(a *attempt, now time.Time) (problem string, kind disbelieved) {
	leaf := a.chain[0]
	host := n.host(a.callee)
	switch {
	case now.After(leaf.NotAfter):
		return "its certificate expired on " + day(leaf.NotAfter) + ", " + duration.HumanDuration(now.Sub(leaf.NotAfter)) + " ago", outdated
	case now.Before(leaf.NotBefore):
		return "its certificate is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339), outdated
	case leaf.VerifyHostname(host) != nil:
		return "its certificate is for " + list(leaf.DNSNames) + ", the API server calls " + host, foreign
	}
	bad := n.untrusting(a.chain, a.callee, now)
	if len(bad) == 0 {
		return "", believed
	}
	return fmt.Sprintf("its certificate is of CA %s, the caBundle of %s of %s is %s (x509: unknown authority)",
		issuer(a.chain), whichOf(bad, len(n.entries)), n.where(), bundleName(bad[0].ClientConfig.CABundle)), unbelieved
}

// untrusting returns the entries under which a chain is not good.
func (n *neighbour) untrusting(chain []*x509.Certificate, c callee, now time.Time) []*Entry {
	var out []*Entry
	for _, e := range n.at(c) {
		if distrust(e, chain, now) != "" {
			out = append(out, e)
		} else if len(e.ClientConfig.CABundle) == 0 {
			if _, err := chain[0].Verify(x509.VerifyOptions{Intermediates: pool(chain[1:]), CurrentTime: now}); err != nil {
				out = append(out, e)
			}
		}
	}
	return out
}

func pool(chain []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for c := range slices.Values(chain) {
		p.AddCert(c)
	}
	return p
}
