package diagnose

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"holdfast.dev/holdfast/report"
)

// expiresSoon is when a certificate that nobody renewed is worth a word.
const expiresSoon = 7 * 24 * time.Hour

// lookUp bounds what is looked up only to say things more precisely.
const lookUp = 2 * time.Second

// clocksDiffer is how far apart two clocks are that somebody has to set.
const clocksDiffer = 90 * time.Second

func certificateValidity() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF203", Name: "certificate-validity", Severity: report.Error,
			Title: "the certificate is valid now, for the name that the API server calls",
			Why:   "The API server checks dates and name at each call: an expired certificate, one that is not valid yet, or one for another name fails every call with an x509 error.",
			Fix:   "Have the certificate issued again for SERVICE.NAMESPACE.svc: by cert-manager, or by Holdfast, which does so without --cert-dir. The Common Name does not count.",
		},
		After: []string{"HF202"}, // what is shown may be good when the files no longer are

		Inside: true,
		ask: func(ctx context.Context, s *Subject) Result {
			chain, err := s.served(ctx)
			if l := s.needed["HF202"]; err != nil && l != nil && l.State == Failed {
				return skipped(l.Code)
			}
			if err != nil {
				return failed(s.unmade(ctx), "%v", err)
			}
			leaf, now := chain[0], s.Now()
			if now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
				return s.outOfTime(ctx, leaf)
			}
			for _, host := range s.hosts(ctx) {
				if leaf.VerifyHostname(host) != nil {
					return s.misnamed(ctx, leaf, host)
				}
			}
			left := leaf.NotAfter.Sub(now)
			if left < expiresSoon {
				return warn(s.unrenewed(ctx), "the certificate expires on %s, in %s", minute(leaf.NotAfter), duration.HumanDuration(left)).meaning(notYet)
			}
			return passed("for %s, %s left", strings.Join(s.hosts(ctx), ", "), duration.HumanDuration(left))
		},
	}
}

// outOfTime is for a certificate that has ended, or has not begun: by our clock at least.
func (s *Subject) outOfTime(ctx context.Context, leaf *x509.Certificate) Result {
	now := s.Now()
	there, agree := s.clock(ctx)
	off := now.Sub(there)
	begins := now.Before(leaf.NotBefore)
	if !there.IsZero() && !agree && !there.After(leaf.NotAfter) && !there.Before(leaf.NotBefore) {
		return warn("Set the clock of "+s.node(ctx)+" (NTP).",
			"the clock of pod %s says %s, %s; the API server's says %s, when the certificate is valid", s.Server.Replica, minute(now), offset(off), minute(there)).
			meaning("No pod is affected: the API server goes by its own clock.")
	}
	clocks := "this pod's clock says " + minute(now)
	switch {
	case agree:
		clocks += ", and so does the API server's"
	case !there.IsZero():
		clocks += ", the API server's " + minute(there)
	}
	o := s.origin(ctx)
	if !begins {
		fix := s.anew(ctx, o)
		if s.Server.CertDir == "" {
			fix = s.unmade(ctx)
		}
		return failed(fix, "the certificate expired on %s, %s ago: %s", minute(leaf.NotAfter), duration.HumanDuration(now.Sub(leaf.NotAfter)), clocks)
	}
	wait := duration.HumanDuration(leaf.NotBefore.Sub(now))
	culprit := "The clock of whoever issued it was ahead."
	if !agree {
		culprit = "The clock of whoever issued it was ahead, or these are behind."
	}
	// Issued again by the same clock it would not be valid either.
	fix := s.makeItself(ctx, o, "If that is too long, l"+itself)
	return failed(steps(culprit+" The certificate is valid in "+wait+", without anything being done.", fix),
		"the certificate is not valid before %s, in %s: %s", minute(leaf.NotBefore), wait, clocks)
}

// node names the node that we run on.
func (s *Subject) node(ctx context.Context) string {
	pods, _ := s.Pods(ctx, s.Own.Namespace)
	for i := range pods {
		if pods[i].Name == s.Server.Replica && pods[i].Spec.NodeName != "" {
			return "node " + pods[i].Spec.NodeName
		}
	}
	return "the node that this pod runs on"
}

// offset says how far off a clock is.
func offset(d time.Duration) string {
	if d < 0 {
		return duration.HumanDuration(-d) + " behind"
	}
	return duration.HumanDuration(d) + " ahead"
}

// clock is what time it is for the API server, and whether we agree; zero where it does not say.
func (s *Subject) clock(ctx context.Context) (there time.Time, agree bool) {
	if s.Try == nil {
		return time.Time{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	// Without the probe's label: nobody calls us for it.
	back, _, err := s.Try(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "holdfast-clock-", Namespace: s.Own.Namespace}})
	if err != nil || back.CreationTimestamp.IsZero() {
		return time.Time{}, false
	}
	there = back.CreationTimestamp.Time
	return there, s.Now().Sub(there).Abs() < clocksDiffer
}

// misnamed is for a certificate that is not for the name that the API server calls.
func (s *Subject) misnamed(ctx context.Context, leaf *x509.Certificate, host string) Result {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	o := s.origin(ctx)
	fix := s.anew(ctx, o)
	if s.Server.CertDir == "" {
		fix = s.unmade(ctx)
	}
	if c := o.certificate; c != nil {
		asked := c.Spec.DNSNames
		if !slices.Contains(asked, host) {
			name := "kubectl -n " + c.Namespace + " patch " + certificateResource + " " + c.Name
			fix = steps("Have cert-manager issue it for that name too:",
				name+" --type=merge -p '"+encode(map[string]any{"spec": map[string]any{"dnsNames": append(asked, host)}})+"'",
				s.resting(ctx), "Holdfast reads the new one by itself within two minutes, and no restart is needed.",
				"If none comes, the reason is here:", s.look(c), kept(c.Labels, c.Annotations))
		}
	}
	from := ""
	if o.secret != "" {
		from = " in Secret " + o.secret
	}
	return failed(fix, "the certificate%s is for %s, the API server calls %s", from, list(names), host)
}

// unrenewed is for a certificate that ought to have been renewed by now.
func (s *Subject) unrenewed(ctx context.Context) string {
	if s.Server.CertDir == "" {
		return s.unmade(ctx)
	}
	o := s.origin(ctx)
	if c := o.certificate; c != nil {
		const should = "By now cert-manager should have renewed it"
		if resting := s.resting(ctx); resting != "" {
			return steps(should+".", resting)
		}
		return steps(should+"; why it has not is here:", s.look(c), "kubectl get pods -A -l "+nameLabel+"="+issuing, s.reissue(c, "If that tells nothing, have it issued again:"))
	}
	return steps("It has time until the morning. Nobody in the cluster is known to renew "+o.where()+".",
		s.makeItself(ctx, o, "Or now: l"+itself), s.byHand(o, strings.Join(s.hosts(ctx), ", ")), s.ownedBy(o))
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
