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
	"syscall"

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
			Fix:   "Find out what listens at the address in the message: kubectl get pods -A -o wide; restart the replica that serves another certificate.",
		},
		Needs:  []string{"HF201", "HF203", "HF209", "HF211"},
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
			for _, at := range ready[:min(len(ready), mostDialled)] {
				if r := s.answers(ctx, at, roots); r != nil {
					return *r
				}
			}
			return passed("%s", list(ready))
		},
	}
}

// answers holds what an endpoint presents against what the API server believes; nil where it is right. Replicas may present
// different certificates for a while.
func (s *Subject) answers(ctx context.Context, at string, roots *x509.CertPool) *Result {
	look := "kubectl get pods -A -o wide, and look for the address."
	var chain []*x509.Certificate
	raw, err := s.Dial(ctx, at)
	if err == nil {
		defer raw.Close()
		chain, err = presented(ctx, raw, s.Own.Host())
	}
	if err != nil {
		what := fmt.Sprintf("does not speak TLS with us: %v", err)
		switch {
		case ctx.Err() != nil || dialTimedOut(err):
			what = "gives no answer"
		case errors.Is(err, syscall.ECONNREFUSED):
			what = "refuses the connection"
		}
		r := failed(look, "endpoint %s %s", at, what)
		return &r
	}
	if why := untrusted(chain, roots, s.Now()); why != "" {
		r := failed(look, "endpoint %s presents a certificate of %s, which no webhook configuration trusts", at, chain[0].Issuer)
		return &r
	}
	if err := chain[0].VerifyHostname(s.Own.Host()); err != nil {
		r := failed(look, "endpoint %s presents a certificate for %s, not for %s", at, list(chain[0].DNSNames), s.Own.Host())
		return &r
	}
	if now := s.Now(); now.After(chain[0].NotAfter) || now.Before(chain[0].NotBefore) {
		r := failed("kubectl -n "+s.Own.Namespace+" rollout restart deploy/"+s.Own.Service, "endpoint %s presents a certificate that is not valid now: from %s to %s",
			at, day(chain[0].NotBefore), day(chain[0].NotAfter))
		return &r
	}
	// A server that hangs shakes hands all the same.
	if err := s.talks(ctx, at); err != nil {
		r := failed(logsOf(s), "endpoint %s accepts connections and answers no request: %v", at, err)
		return &r
	}
	return nil
}

// talks asks for a page that is not there, and takes any answer.
func (s *Subject) talks(ctx context.Context, at string) error {
	client := http.Client{Transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			raw, err := s.Dial(ctx, at)
			if err != nil {
				return nil, err
			}
			//nolint:gosec // the certificate has been judged
			c := tls.Client(raw, &tls.Config{ServerName: s.Own.Host(), InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
			return c, c.HandshakeContext(ctx)
		},
		DisableKeepAlives: true,
	}}
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.Own.Host()+"/", http.NoBody)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("none within %s", round(lookUp))
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
