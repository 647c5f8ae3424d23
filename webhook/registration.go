package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
)

// inspect looks whether the API server is told to call us, and trusts us where it is. A failurePolicy of Ignore hides both
// from everybody else. It is called now and then, not at each change: a configuration without our CA is about to get it.
func (c *Cluster) inspect() {
	if !c.mutating.settled() || !c.validating.settled() {
		return
	}
	var problems []string
	var mutating, validating tally
	for _, m := range list[*admissionregistrationv1.MutatingWebhookConfiguration](c.mutating) {
		for i := range m.Webhooks {
			c.count(&mutating, m.Labels, m.Name, &m.Webhooks[i].ClientConfig)
		}
	}
	for _, v := range list[*admissionregistrationv1.ValidatingWebhookConfiguration](c.validating) {
		for i := range v.Webhooks {
			c.count(&validating, v.Labels, v.Name, &v.Webhooks[i].ClientConfig)
		}
	}
	c.called("mutating", mutating.trusted, mutating.untrusted)
	c.called("validating", validating.trusted, validating.untrusted)
	if mutating.trusted+mutating.untrusted == 0 {
		problems = append(problems, "no mutating webhook configuration calls Holdfast: nothing is put right")
	}
	if validating.trusted+validating.untrusted == 0 {
		problems = append(problems, "no validating webhook configuration calls Holdfast: nothing is refused or recorded")
	}
	if strangers := slices.Concat(mutating.strangers, validating.strangers); len(strangers) > 0 {
		slices.Sort(strangers)
		problems = append(problems, fmt.Sprintf("the certificate of Holdfast is not good under the caBundle of %s: calls from there fail", strings.Join(slices.Compact(strangers), ", ")))
	}
	switch problem := strings.Join(problems, "; "); {
	case problem == c.lastProblem:
	case problem == "":
		c.log.Info("the API server is told to call Holdfast, and trusts it")
		c.lastProblem = problem
	default:
		c.log.Info("the API server cannot call Holdfast as it should", "problem", problem)
		c.lastProblem = problem
	}
}

// tally counts the entries of one kind of configuration that call us.
type tally struct {
	trusted, untrusted int
	strangers          []string // configurations with entries under whose CA bundle our certificate is not good
}

func (c *Cluster) count(t *tally, labels map[string]string, configuration string, client *admissionregistrationv1.WebhookClientConfig) {
	switch {
	case client.Service == nil && labels[NameLabel] == Name: // a URL; who ends TLS there is not known
		t.trusted++
	case !c.callsOurService(client):
	case c.trusts(client.CABundle):
		t.trusted++
	default:
		t.untrusted++
		t.strangers = append(t.strangers, configuration)
	}
}

func (c *Cluster) callsOurService(client *admissionregistrationv1.WebhookClientConfig) bool {
	return client.Service != nil && client.Service.Namespace == c.self.Namespace && client.Service.Name == c.self.Name
}

// trusted tells whether an API server that knows a CA bundle accepts what is served for our Service. While nothing is served
// it says yes: there is nothing to complain of yet.
func trusted(served certificates, bundle []byte, service types.NamespacedName, now time.Time) bool {
	c, err := served.Get(&tls.ClientHelloInfo{})
	if err != nil || c == nil || len(c.Certificate) == 0 {
		return true
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return false
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	for _, raw := range c.Certificate[1:] {
		if between, err := x509.ParseCertificate(raw); err == nil {
			intermediates.AddCert(between)
		}
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		DNSName: service.Name + "." + service.Namespace + ".svc", Roots: roots, Intermediates: intermediates, CurrentTime: now,
	})
	return err == nil
}
