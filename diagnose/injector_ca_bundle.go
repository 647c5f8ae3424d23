package diagnose

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"holdfast.dev/holdfast/report"
)

func injectorCABundle() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF235", Name: "injector-ca-bundle", Severity: report.Error,
			Title: "its entries have a CA that is valid now",
			Why:   "An entry has no caBundle, or one without a certificate that is valid today: the injector, or cert-manager, has not put it in, or a deployment tool has put back what was there before. Every call fails with \"x509: certificate signed by unknown authority\", or \"certificate has expired\".",
			Fix:   "Have the injector put its CA in again, by a restart, or by the chart or Certificate that does it; deployment tools must leave caBundle alone.",
		},
		Needs: []string{"HF231"},
		ask:   aboutNeighbour(bundled),
	}
}

func bundled(ctx context.Context, s *Subject, n *neighbour) Result {
	problems := map[string][]string{}
	var soonest time.Time
	for _, e := range n.entries {
		problem, until := bundleNow(e, s.Now())
		if problem != "" {
			problems[problem] = append(problems[problem], e.Name)
		} else if !until.IsZero() && (soonest.IsZero() || until.Before(soonest)) {
			soonest = until
		}
	}
	switch {
	case len(problems) > 0:
		return failed(s.bundleAgain(ctx, n), "%s: %s; %s", n.title, tell(problems, len(n.entries)), n.loss())
	case soonest.IsZero():
		return passed("none, so that the API server's own list of public CAs counts")
	case soonest.Sub(s.Now()) < expiresSoon:
		return warn(s.bundleAgain(ctx, n), "the CA in %s expires on %s, in %s", n.where(), day(soonest), span(soonest.Sub(s.Now())))
	}
	return passed("%s, valid until %s", n.count(), day(soonest))
}

// bundleNow says what is wrong with the CAs of an entry, or until when the last of them is valid; neither where a URL does
// without.
func bundleNow(e *Entry, now time.Time) (problem string, until time.Time) {
	bundle := e.ClientConfig.CABundle
	if len(bundle) == 0 {
		if e.ClientConfig.Service == nil {
			return "", time.Time{}
		}
		return "no caBundle", time.Time{}
	}
	found := false
	var began, ended time.Time
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		found = true
		switch {
		case now.After(c.NotAfter):
			ended = c.NotAfter
		case now.Before(c.NotBefore):
			began = c.NotBefore
		case c.NotAfter.After(until):
			until = c.NotAfter
		}
	}
	switch {
	case !found:
		return "a caBundle without a certificate in it", time.Time{}
	case !until.IsZero():
		return "", until
	case !began.IsZero():
		return "a CA that is not valid before " + began.UTC().Format(time.RFC3339), time.Time{}
	}
	return "a CA that expired on " + day(ended), time.Time{}
}

// bundleAgain says how the CA gets into the entries.
func (s *Subject) bundleAgain(ctx context.Context, n *neighbour) string {
	if from := n.entries[0].Annotations[injectFrom]; from != "" {
		return "cert-manager's cainjector puts it in, from Certificate " + from + ": kubectl -n cert-manager logs deploy/cert-manager-cainjector"
	}
	const otherwise = "; where a chart or GitOps writes it, sync that again, and have it leave caBundle alone"
	for _, c := range n.callees() {
		if c.url != "" {
			continue
		}
		b, err := s.behind(ctx, c)
		if err == nil && n.orphan(b) != "" {
			return n.leftOver()
		}
		if err == nil && b.deployment != nil {
			return fmt.Sprintf("kubectl -n %s rollout restart deploy/%s", c.namespace, b.deployment.Name) + otherwise
		}
	}
	return "Restart " + n.title + ", which puts its CA in" + otherwise
}
