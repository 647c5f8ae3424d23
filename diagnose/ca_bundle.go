package diagnose

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast.dev/holdfast/report"
)

func caBundle() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF209", Name: "ca-bundle", Severity: report.Error,
			Title: "every entry has the CA of the certificate that the server presents",
			Why:   "An entry of a webhook configuration has no caBundle, or one of another CA: whoever should have put it in has not yet, or somebody put the old one back. Every call through that entry fails with \"x509: certificate signed by unknown authority\".",
			Fix:   "Put in the CA of the certificate that is served. Holdfast, or cert-manager's cainjector, does that in every entry: look at their logs and rights. Deployment tools must leave caBundle alone (Argo CD: ignoreDifferences; Helm and kustomize: no caBundle in the manifests).",
		},
		Needs: []string{listenerCode, "HF205", "HF206"},
		ask: func(ctx context.Context, s *Subject) Result {
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			chain, unserved := s.served(ctx)
			problems := map[string][]string{}
			var good, bad []*Entry
			for _, e := range entries {
				if problem := distrust(e, chain, s.Now()); problem != "" {
					problems[problem] = append(problems[problem], e.Name+" ("+e.Where()+")")
					bad = append(bad, e)
				} else {
					good = append(good, e)
				}
			}
			if len(bad) > 0 {
				return failed(s.spreadCA(ctx, good, bad, chain), "%s%s", tell(problems, len(entries)), oneSided(problems, len(entries))).meaning(effectOf(bad))
			}
			if unserved != nil {
				return unknown("", "every entry has one, but what the server presents is not known: %v", unserved)
			}
			return passed("%d entries", len(entries))
		},
	}
}

// oneSided says what must have happened where all entries agree with each other.
func oneSided(problems map[string][]string, entries int) string {
	for problem, names := range problems {
		if len(names) == entries && strings.HasPrefix(problem, ofAnother) {
			return ": whoever replaced one of the two left the other as it was"
		}
	}
	return ""
}

// distrust says why the API server would not believe the certificate, "" where it would. Dates and names are another matter.
func distrust(e *Entry, chain []*x509.Certificate, now time.Time) string {
	bundle := e.ClientConfig.CABundle
	if len(bundle) == 0 {
		if e.ClientConfig.Service == nil { // the roots of the API server's own system count
			return ""
		}
		return "no caBundle"
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return "a caBundle without a certificate in it"
	}
	if len(chain) == 0 {
		return ""
	}
	problem := untrusted(chain, roots, now)
	if problem != "" && strings.HasPrefix(problem, anotherCA) {
		has := authorities(bundle)
		if has == chain[0].Issuer.String() {
			has += " with another key"
		}
		return ofAnother + has + ", the certificate is of " + chain[0].Issuer.String()
	}
	return problem
}

// authorities names what is in a bundle.
func authorities(bundle []byte) string {
	var names []string
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return list(names)
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && !slices.Contains(names, c.Subject.String()) {
			names = append(names, c.Subject.String())
		}
	}
}

// How answers begin where the CA is another one: that of untrusted, which does not know the bundle, and that of distrust.
const (
	anotherCA = "the caBundle of another CA than "
	ofAnother = "the caBundle of "
)

// untrusted verifies a chain at a moment at which its leaf is valid.
func untrusted(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) string {
	leaf, between := chain[0], x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if now.Before(leaf.NotBefore) {
		now = leaf.NotBefore
	}
	if now.After(leaf.NotAfter) {
		now = leaf.NotAfter
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now})
	if wrong := (x509.UnknownAuthorityError{}); errors.As(err, &wrong) {
		return anotherCA + leaf.Issuer.String()
	}
	if err != nil {
		return "a caBundle under which the certificate is not good: " + err.Error()
	}
	return ""
}

// tell says which entries have which problem.
func tell(problems map[string][]string, entries int) string {
	text := ""
	for _, problem := range sortedKeys(problems) {
		names := problems[problem]
		if text != "" {
			text += "; "
		}
		if len(names) == entries {
			text += fmt.Sprintf("all %d entries have %s", entries, problem)
			continue
		}
		has := "has "
		if len(names) > 1 {
			has = "have "
		}
		text += list(names) + " " + has + problem
	}
	return text
}

// spreadCA says how the CA gets to where it belongs.
func (s *Subject) spreadCA(ctx context.Context, good, bad []*Entry, chain []*x509.Certificate) string {
	own := s.Server != nil && s.Server.CertDir == "" || s.Server == nil && selfMade(chain)
	from := bad[0].Annotations[injectFrom]
	switch {
	case own && from != "":
		return steps(s.dropAnnotation(ctx), "Holdfast, which makes the certificate, then puts its own CA in within half a minute.")
	case own:
		return steps("Holdfast puts it in by itself within half a minute, and again whenever it is changed.",
			"If it stays so, its log says why, and HF218 if it is a right:", s.logs(),
			"If the log says nothing of it, new pods try again:", s.restart(ctx), s.owned(bad[0].object()))
	}
	o := s.origin(ctx)
	keeper := s.owned(bad[0].object())
	first := ""
	if from != "" {
		var again string
		first, again = s.injected(ctx)
		keeper = steps(again, keeper)
	}
	if len(good) > 0 { // what is right there is right here
		return steps(first, "Put in what "+good[0].Name+" has:",
			fmt.Sprintf("ca=$(kubectl get %s -o jsonpath='{.webhooks[%d].clientConfig.caBundle}')", good[0].Where(), good[0].Index), putCA(bad), keeper)
	}
	if lead, command := s.caOf(o, chain); command != "" {
		return steps(first, lead, command, putCA(bad), keeper)
	}
	issuer := "whoever issued it"
	if len(chain) > 0 {
		issuer = chain[0].Issuer.String()
	}
	itself := s.makeItself(ctx, o, "L"+itself)
	file := "Put in the CA of the certificate, which is in nothing that is mounted here; with that of " + issuer + " as ca.crt:"
	if itself != "" {
		file = "If you have the CA at hand that issued it (" + issuer + ", as ca.crt), put that in instead:"
	}
	return steps(first, itself, file, "ca=$(base64 < ca.crt | tr -d '\\n')", putCA(bad), keeper)
}

// injected is how cert-manager's cainjector comes to put a CA in: what to do first, and what if it does not last.
func (s *Subject) injected(ctx context.Context) (first, again string) {
	if injector := s.idle(ctx, injecting); injector != nil {
		return steps("By itself cert-manager's cainjector would put it in, but "+injector.what()+".", injector.fix(), "If it cannot be had tonight, the CA can be put in by hand."), ""
	}
	return "", steps("If it is undone, or comes again, see why cert-manager's cainjector does not do it:",
		"kubectl get pods -A -l "+nameLabel+"="+injecting, "kubectl logs -n cert-manager -l "+nameLabel+"="+injecting+" --tail=50")
}

// putCA puts what the variable ca holds into entries.
func putCA(entries []*Entry) string {
	const hole = "$ca"
	var lines []string
	for line := range strings.SplitSeq(patchEntries(entries, op{"add", "/clientConfig/caBundle", hole}), "\n") {
		lines = append(lines, `test -n "$ca" && `+strings.ReplaceAll(line, `"`+hole+`"`, `"'"`+hole+`"'"`))
	}
	return steps(lines...)
}

// caOf is the command that reads the CA of the certificate from the Secret that holds it; "" where that is not known to hold it.
func (s *Subject) caOf(o *origin, chain []*x509.Certificate) (lead, command string) {
	in, secret := s.kubectl(), o.secret
	if secret == "" && o.certificate != nil {
		in, secret = "kubectl -n "+o.certificate.Namespace, o.certificate.Spec.SecretName
	}
	if secret == "" {
		return "", ""
	}
	read := func(key string) (lead, command string) {
		return "Put in the CA that Secret " + secret + " holds beside the certificate:",
			"ca=$(" + in + " get secret " + secret + " -o jsonpath='{.data." + strings.ReplaceAll(key, ".", `\.`) + "}')"
	}
	if s.Server == nil || s.Server.CertDir == "" {
		return read("ca.crt")
	}
	for _, key := range []string{"ca.crt", "tls.crt"} { // the latter may end with its own CA
		content, err := os.ReadFile(filepath.Join(s.Server.CertDir, key)) //nolint:gosec // where --cert-dir points
		if roots := x509.NewCertPool(); err == nil && roots.AppendCertsFromPEM(content) && len(chain) > 0 && untrusted(chain, roots, s.Now()) == "" && signs(content) {
			return read(key)
		}
	}
	return "", ""
}

// signs tells whether the last certificate in a file is one that signed itself.
func signs(content []byte) bool {
	var last *x509.Certificate
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return last != nil && last.CheckSignatureFrom(last) == nil || last != nil && bytes.Equal(last.RawIssuer, last.RawSubject)
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			last = c
		}
	}
}

// selfMade tells whether the certificate is of the CA that Holdfast makes.
func selfMade(chain []*x509.Certificate) bool {
	return len(chain) > 0 && chain[0].Issuer.CommonName == "holdfast-ca" && slices.Contains(chain[0].Issuer.Organization, "holdfast")
}
