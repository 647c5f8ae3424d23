package diagnose

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"holdfast.dev/holdfast/report"
)

func injectorCABundle() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF235", Name: "injector-ca-bundle", Severity: report.Error,
			Title: "its entries have a CA that is valid now",
			Why:   "An entry has no caBundle, or one without a certificate that is valid today: the injector, or cert-manager, has not put it in, or a deployment tool has put back what was there before. Every call fails with \"x509: certificate signed by unknown authority\", or \"certificate has expired\".",
			Fix:   "Put the injector's CA in: from where it keeps it, by its restart where it puts it in itself, or by cert-manager's cainjector; deployment tools must leave caBundle alone.",
		},
		Needs: []string{"HF231"},
		ask:   aboutNeighbour(bundled),
	}
}

func bundled(ctx context.Context, s *Subject, n *neighbour) Result {
	problems := map[string][]string{}
	var bad []*Entry
	var soonest time.Time
	for _, e := range n.entries {
		problem, until := bundleNow(e, s.Now())
		if problem != "" {
			problems[problem] = append(problems[problem], e.Name)
			bad = append(bad, e)
		} else if !until.IsZero() && (soonest.IsZero() || until.Before(soonest)) {
			soonest = until
		}
	}
	switch {
	case len(problems) > 0:
		return failed(s.bundleAgain(ctx, n, bad, nil), "%s (%s): %s", n.where(), n.title, tell(problems, len(n.entries)))
	case soonest.IsZero():
		return passed("none, so that the API server's own list of public CAs counts")
	case soonest.Sub(s.Now()) < expiresSoon:
		return warn(s.bundleAgain(ctx, n, n.entries, nil), "the CA in %s expires on %s, in %s", n.where(), day(soonest), duration.HumanDuration(soonest.Sub(s.Now()))).meaning(notYet)
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
