package diagnose

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"holdfast.dev/holdfast/report"
)

// mostDialled bounds how many endpoints are tried.
const mostDialled = 5

func serviceTLS() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF214", Name: "service-tls", Severity: report.Error,
			Title: "what stands behind the Service answers with our certificate",
			Why:   "Another pod of the cluster connects to the endpoints of the Service as the API server does, and gets no answer, or one with a certificate that the webhook configurations do not trust: something else listens there, a replica serves an old certificate, or a proxy ends TLS in between.",
			Fix:   "Have the Deployment make another pod in the place of one that serves another certificate, or hangs; take away what is not Holdfast's: a pod with its labels, an EndpointSlice that somebody has written by hand.",
		},
		Needs:  []string{"HF201", "HF203", "HF209", "HF211", "HF212"},
		Inside: true,
		ask: func(ctx context.Context, s *Subject) Result {
			if l := s.needed["HF211"]; l != nil && l.State == NotApplicable {
				return notApplicable("the webhooks are called by URL")
			}
			ready, _, err := s.endpoints(ctx)
			if err != nil {
				return cannot(err)
			}
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			roots := x509.NewCertPool()
			for _, e := range entries {
				roots.AppendCertsFromPEM(e.ClientConfig.CABundle)
			}
			tried := ready[:min(len(ready), mostDialled)]
			all := make([]*trouble, len(tried))
			var asked sync.WaitGroup
			for i, at := range tried {
				t := &trouble{at: at}
				all[i] = t
				s.trace(ctx, t) // while there is time
				asked.Go(func() { t.what = s.answers(ctx, at, roots) })
			}
			asked.Wait()
			bad := slices.DeleteFunc(all, func(t *trouble) bool { return t.what == "" })
			if len(bad) > 0 {
				return failed(s.clear(ctx, bad), "endpoint %s%s %s%s", bad[0].at, bad[0].who(), bad[0].what, besides(len(bad), "endpoint", "endpoints")).
					meaning(share(entries, bad, len(tried)))
			}
			return passed("%s", list(ready))
		},
	}
}

// share says what it means that calls to some of the endpoints fail.
func share(entries []*Entry, bad []*trouble, of int) string {
	slow := slices.ContainsFunc(bad, (*trouble).mute)
	if len(bad) == of {
		if slow {
			return lateEffect(entries)
		}
		return effectOf(entries)
	}
	then := "the pod starts as if Holdfast were not there (failurePolicy Ignore)."
	if slices.ContainsFunc(entries, func(e *Entry) bool { return !e.Probe() && e.Fails() }) {
		then = "the API server refuses the pod (failurePolicy Fail)."
	}
	if wait := timeout(entries); slow && wait > 0 {
		then = "it takes the timeout of " + round(wait) + ", and " + then
	}
	return fmt.Sprintf("About %d of %d calls fail: then %s", len(bad), of, then)
}

// answers holds what an endpoint presents against what the API server believes, and says what is wrong, "" where nothing is.
// Replicas may present different certificates for a while.
func (s *Subject) answers(ctx context.Context, at string, roots *x509.CertPool) string {
	ctx, cancel := context.WithTimeout(ctx, usual-time.Second) // silence is an answer
	defer cancel()
	var chain []*x509.Certificate
	raw, err := s.Dial(ctx, at)
	if err == nil {
		defer raw.Close()
		chain, err = presented(ctx, raw, s.Own.Host())
	}
	switch {
	case err != nil && (ctx.Err() != nil || dialTimedOut(err)):
		return silent
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refuses the connection"
	case err != nil:
		return fmt.Sprintf("does not speak TLS with us: %v", err)
	}
	if why := untrusted(chain, roots, s.Now()); why != "" {
		return fmt.Sprintf("presents a certificate issued by %s, which no webhook configuration trusts", chain[0].Issuer)
	}
	if err := chain[0].VerifyHostname(s.Own.Host()); err != nil {
		return fmt.Sprintf("presents a certificate for %s, not for %s", list(chain[0].DNSNames), s.Own.Host())
	}
	if now := s.Now(); now.After(chain[0].NotAfter) || now.Before(chain[0].NotBefore) {
		return fmt.Sprintf("presents a certificate that is not valid now: from %s to %s", minute(chain[0].NotBefore), minute(chain[0].NotAfter))
	}
	// A server that hangs shakes hands all the same.
	if err := s.talks(ctx, at, s.Own.Host(), "/"); err != nil {
		return fmt.Sprintf(muteWords+"%v", err)
	}
	return ""
}

// errMute is what a server that takes connections and answers nothing is told by.
var errMute = errors.New("none")

// talks asks for a page that is not there, and takes any answer.
func (s *Subject) talks(ctx context.Context, at, host, path string) error {
	client := http.Client{Transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			raw, err := s.Dial(ctx, at)
			if err != nil {
				return nil, err
			}
			//nolint:gosec // the certificate has been judged
			c := tls.Client(raw, &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
			return c, c.HandshakeContext(ctx)
		},
		DisableKeepAlives: true,
	}}
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%w within %s", errMute, round(lookUp))
	case err != nil:
		return err
	}
	return res.Body.Close()
}

// handshake returns what an address presents, without judging it.
func (s *Subject) handshake(ctx context.Context, at, host string) ([]*x509.Certificate, error) {
	raw, err := s.Dial(ctx, at)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	return presented(ctx, raw, host)
}

func presented(ctx context.Context, raw net.Conn, host string) ([]*x509.Certificate, error) {
	// Verified by the caller, against more than one opinion.
	c := tls.Client(raw, &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // see above
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return slices.Clone(c.ConnectionState().PeerCertificates), nil
}
