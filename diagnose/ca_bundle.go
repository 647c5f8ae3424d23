package diagnose

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
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
			Fix:   "Holdfast, or cert-manager's cainjector, puts the CA into every entry: look at their logs and rights. Deployment tools must leave caBundle alone (Argo CD: ignoreDifferences; Helm and kustomize: no caBundle in the manifests).",
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
					problems[problem] = append(problems[problem], e.Name)
					bad = append(bad, e)
				} else {
					good = append(good, e)
				}
			}
			if len(bad) > 0 {
				return failed(spreadCA(s, good, bad, chain), "%s", tell(problems, len(entries)))
			}
			if unserved != nil {
				return unknown("", "every entry has one, but what the server presents is not known: %v", unserved)
			}
			return passed("%d entries", len(entries))
		},
	}
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
	return untrusted(chain, roots, now)
}

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
		return "the caBundle of another CA than " + leaf.Issuer.String()
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

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// spreadCA says how the CA gets to where it belongs.
func spreadCA(s *Subject, good, bad []*Entry, chain []*x509.Certificate) string {
	if from := bad[0].Annotations[injectFrom]; from != "" {
		return "cert-manager's cainjector puts it in, from Certificate " + from + ": kubectl -n cert-manager logs deploy/cert-manager-cainjector"
	}
	if s.Server != nil && s.Server.CertDir == "" || s.Server == nil && selfMade(chain) {
		return "Holdfast puts it in by itself within half a minute; if not, its log says why: " + logsOf(s)
	}
	value, lines := "$(base64 -w0 ca.crt)", []string{"Put the CA of the certificate in (ca.crt, of whoever issued it):"}
	if len(good) > 0 { // what is right there is right here
		value = fmt.Sprintf("$(kubectl get %s -o jsonpath='{.webhooks[%d].clientConfig.caBundle}')", good[0].Where(), good[0].Index)
		lines = []string{"Put in what " + good[0].Name + " has:"}
	}
	for _, e := range bad {
		lines = append(lines, fmt.Sprintf(`kubectl patch %s --type=json -p '[{"op":"add","path":"/webhooks/%d/clientConfig/caBundle","value":"'"%s"'"}]'`, e.Where(), e.Index, value))
	}
	return strings.Join(lines, "\n")
}

// selfMade tells whether the certificate is of the CA that Holdfast makes.
func selfMade(chain []*x509.Certificate) bool {
	return len(chain) > 0 && chain[0].Issuer.CommonName == "holdfast-ca" && slices.Contains(chain[0].Issuer.Organization, "holdfast")
}
