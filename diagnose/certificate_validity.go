package diagnose

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast.dev/holdfast/report"
)

// expiresSoon is when a certificate that nobody renewed is worth a word.
const expiresSoon = 7 * 24 * time.Hour

// lookUp bounds what is looked up only to say things more precisely.
const lookUp = 2 * time.Second

func certificateValidity() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF203", Name: "certificate-validity", Severity: report.Error,
			Title: "the certificate is valid now, for the name that the API server calls",
			Why:   "The API server checks dates and name at each call: an expired certificate, one that is not valid yet, or one for another name fails every call with an x509 error.",
			Fix:   "Have the certificate renewed for SERVICE.NAMESPACE.svc. Where cert-manager makes it, look at its Certificate; where Holdfast does, at the server's log; the Common Name does not count.",
		},
		Needs:  []string{"HF202"},
		Inside: true,
		ask: func(ctx context.Context, s *Subject) Result {
			chain, err := s.served(ctx)
			if err != nil {
				return failed(logsOf(s), "%v", err)
			}
			leaf, now := chain[0], s.Now()
			switch {
			case now.After(leaf.NotAfter):
				return failed(renew(s), "the certificate expired on %s, %s ago", day(leaf.NotAfter), span(now.Sub(leaf.NotAfter)))
			case now.Before(leaf.NotBefore):
				return failed("Wait, or set the clock that is wrong: this one says "+now.UTC().Format(time.RFC3339)+".",
					"the certificate is not valid before %s, in %s", leaf.NotBefore.UTC().Format(time.RFC3339), span(leaf.NotBefore.Sub(now)))
			}
			for _, host := range s.hosts(ctx) {
				if leaf.VerifyHostname(host) != nil {
					names := slices.Clone(leaf.DNSNames)
					for _, ip := range leaf.IPAddresses {
						names = append(names, ip.String())
					}
					return failed("Have it issued for "+host+" as a subject alternative name.", "the certificate is for %s, the API server calls %s", list(names), host)
				}
			}
			left := leaf.NotAfter.Sub(now)
			if left < expiresSoon {
				return warn(renew(s), "the certificate expires on %s, in %s", day(leaf.NotAfter), span(left))
			}
			return passed("for %s, %s left", strings.Join(s.hosts(ctx), ", "), span(left))
		},
	}
}

// hosts are the names by which the API server calls us.
func (s *Subject) hosts(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	entries, err := s.ourEntries(ctx)
	if err != nil || !byURL(entries) {
		return []string{s.Own.Host()}
	}
	var hosts []string
	for _, e := range entries {
		if !slices.Contains(hosts, e.Host()) {
			hosts = append(hosts, e.Host())
		}
	}
	return hosts
}

func renew(s *Subject) string {
	if s.Server.CertDir != "" {
		return "Have it renewed. With cert-manager: kubectl -n " + s.Own.Namespace + " describe certificate"
	}
	return "Holdfast renews it by itself; its log says what keeps it: " + logsOf(s)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// span is a time in the unit that one thinks of it in.
func span(d time.Duration) string {
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := int(d / unit.of); n > 0 {
			return plural(n, unit.name)
		}
	}
	return "less than a minute"
}

// plural counts something.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// list prints names, the first of them where there are many.
func list(names []string) string {
	const most = 4
	switch {
	case len(names) == 0:
		return "no name"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
