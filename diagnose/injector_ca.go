package diagnose

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// fingerprint is the beginning of a certificate's: CAs of one program often have one name.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:4])
}

func caName(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if name == "" {
		name = c.Subject.String()
	}
	return cmp.Or(name, "without a name")
}

// bundleName names the first CA of a bundle.
func bundleName(bundle []byte) string {
	block, _ := pem.Decode(bundle)
	if block == nil {
		return "none"
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "none"
	}
	return fmt.Sprintf("%s (sha256 %s)", caName(c), fingerprint(c))
}

// issuer names the CA of a chain, which often ends with it.
func issuer(chain []*x509.Certificate) string {
	last := chain[len(chain)-1]
	if bytes.Equal(last.RawIssuer, last.RawSubject) {
		return fmt.Sprintf("%s (sha256 %s)", caName(last), fingerprint(last))
	}
	return cmp.Or(last.Issuer.CommonName, last.Issuer.String(), "without a name")
}

// bundleAgain says how the CA gets into entries. The chain is what their injector presents, nil where that is not known.
func (s *Subject) bundleAgain(ctx context.Context, n *neighbour, bad []*Entry, chain []*x509.Certificate) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	if from := n.entries[0].Annotations[injectFrom]; from != "" {
		namespace, name, _ := strings.Cut(from, "/")
		return steps("Put in the CA of cert-manager's Certificate "+from+":",
			"secret=$(kubectl -n "+namespace+" get certificate "+name+" -o jsonpath='{.spec.secretName}')",
			`ca=$(test -n "$secret" && kubectl -n `+namespace+` get secret "$secret" -o jsonpath='{.data.ca\.crt}')`, putCA(bad),
			"If it is undone, or comes again, see why cert-manager's cainjector does not do it, and start it anew:",
			"kubectl logs -n cert-manager -l "+nameLabel+"=cainjector --tail=50", "kubectl -n cert-manager rollout restart deploy/cert-manager-cainjector")
	}
	c := bad[0].callee()
	b, _ := s.behind(ctx, c) // empty where nobody can tell
	if n.orphan(b) != "" {
		if which := s.oneGoes(ctx, n); which != "" {
			return which
		}
		return steps("Do what HF231 says above: istiod then puts its CA in by itself.", n.caStays())
	}
	why, from := s.caFrom(ctx, n, bad, chain, b)
	after := s.keepsCA(ctx, n, c, b, from != "")
	if from == "" {
		if after == "" {
			after = "Have the installer of " + n.title + " put its CA in again."
		}
		return steps(after, n.caStays())
	}
	return steps(why, "ca=$("+from+")", putCA(bad), after, n.caStays())
}

// caStays is for who else writes the configuration.
func (n *neighbour) caStays() string {
	k := keeperOf(n.entries[0].Labels, n.entries[0].Annotations)
	switch {
	case k == nil:
		return ""
	case k.lasts:
		return k.who + " wrote the configuration: no caBundle may stand in what it writes, or the next upgrade brings that back."
	}
	return k.who + " keeps the configuration: have it leave caBundle alone, or this is undone."
}

// caFrom is a command that prints the CA, as caBundle wants it, with why that is the right one; empty where nobody knows.
func (s *Subject) caFrom(ctx context.Context, n *neighbour, bad []*Entry, chain []*x509.Certificate, b *backing) (why, from string) {
	const bundle = "kubectl get %s -o jsonpath='{.webhooks[%d].clientConfig.caBundle}'"
	c := bad[0].callee()
	var all []*Entry
	for _, o := range n.all.list {
		all = append(all, o.at(c)...)
	}
	if chain != nil { // what fits the certificate there fits it here
		for _, e := range all {
			if len(e.ClientConfig.CABundle) > 0 && distrust(e, chain, s.Now()) == "" {
				return "Put in the CA of " + e.Where() + ", under which the certificate is good:", fmt.Sprintf(bundle, e.Where(), e.Index)
			}
		}
	}
	if why, from = s.keptCA(ctx, n, c, b, chain); from != "" {
		return why, from
	}
	for _, e := range n.at(c) { // an entry beside it
		if _, until := bundleNow(e, s.Now()); chain == nil && !until.IsZero() && !slices.Contains(bad, e) {
			return "Put in what " + e.Name + " has:", fmt.Sprintf(bundle, e.Where(), e.Index)
		}
	}
	return "", ""
}

// keptCA is the object in which the injector keeps its CA, by the catalogue, unless that is not the one that has signed what it
// presents.
func (s *Subject) keptCA(ctx context.Context, n *neighbour, c callee, b *backing, chain []*x509.Certificate) (why, from string) {
	i := s.program(n.title)
	if i == nil || c.name == "" {
		return "", ""
	}
	key := strings.ReplaceAll(i.CA.Key, ".", `\.`)
	of := "kubectl -n " + c.namespace + " get "
	switch {
	case i.CA.ConfigMap != "":
		m, err := s.Client.CoreV1().ConfigMaps(c.namespace).Get(ctx, i.CA.ConfigMap, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && chain != nil && !vouches([]byte(m.Data[i.CA.Key]), chain, s.Now()) {
			return "", ""
		}
		return fmt.Sprintf("Put in the CA that %s keeps in ConfigMap %s/%s:", i.Title, c.namespace, i.CA.ConfigMap),
			of + "configmap " + i.CA.ConfigMap + " -o jsonpath='{.data." + key + `}' | base64 | tr -d '\n'`
	case i.CA.Secret == "" || !mounts(b.deployment, i.CA.Secret), i.CA.Key == corev1.TLSCertKey && chain != nil && !bytes.Equal(chain[0].RawIssuer, chain[0].RawSubject):
		return "", ""
	}
	return fmt.Sprintf("Put in the CA of the certificate in Secret %s/%s:", c.namespace, i.CA.Secret),
		of + "secret " + i.CA.Secret + " -o jsonpath='{.data." + key + "}'"
}

// vouches tells whether a chain is good under a bundle.
func vouches(bundle []byte, chain []*x509.Certificate, now time.Time) bool {
	roots := x509.NewCertPool()
	return roots.AppendCertsFromPEM(bundle) && untrusted(chain, roots, now) == ""
}

// mounts tells whether a Deployment's pods have a Secret.
func mounts(d *appsv1.Deployment, secret string) bool {
	if d == nil {
		return false
	}
	for i := range d.Spec.Template.Spec.Volumes {
		if v := d.Spec.Template.Spec.Volumes[i].Secret; v != nil && v.SecretName == secret {
			return true
		}
	}
	return false
}

// keepsCA says what puts the CA in by itself, and what to do where it does not. There may be another way that comes first.
func (s *Subject) keepsCA(ctx context.Context, n *neighbour, c callee, b *backing, other bool) string {
	keeper := s.caKeeper(ctx, n, c, b)
	if keeper == nil {
		return ""
	}
	of := "kubectl -n " + keeper.Namespace
	restart, log := of+" rollout restart deploy/"+keeper.Name, of+" logs deploy/"+keeper.Name+" --tail=500 | grep -i webhook"
	if n.title == "Istio" && other {
		return steps("If it does not stay, istiod has another CA in mind, or somebody else writes here. Its log tells, and a restart has it put its own in:", log, restart)
	}
	why := "Deployment " + keeper.Name + " puts it in whenever it starts:"
	if other {
		why = "If it does not stay, start Deployment " + keeper.Name + " anew, which puts it in whenever it starts:"
	}
	return steps(why, restart, "If that does not help, its log says why:", of+" logs deploy/"+keeper.Name+" --tail=50")
}

// caKeeper finds the Deployment that puts the CA in by itself; nil where there is none.
func (s *Subject) caKeeper(ctx context.Context, n *neighbour, c callee, b *backing) *appsv1.Deployment {
	i := s.program(n.title)
	if i == nil || i.CA.Keeper == "" || c.name == "" {
		return nil
	}
	if n.title == "Istio" {
		return b.deployment
	}
	selector, err := labels.Parse(i.CA.Keeper)
	all, unread := s.Deployments(ctx, c.namespace)
	if err != nil || unread != nil {
		return nil
	}
	for k := range all {
		if selector.Matches(labels.Set(all[k].Labels)) {
			return &all[k]
		}
	}
	return nil
}

// restartFor is for a certificate whose time is over, or has not come.
func (s *Subject) restartFor(ctx context.Context, n *neighbour, c callee) string {
	b, err := s.behind(ctx, c)
	if err != nil || b.deployment == nil {
		return "Have whoever issued the certificate of " + n.title + " renew it, and look at the clocks."
	}
	if from := n.entries[0].Annotations[injectFrom]; from != "" {
		namespace, name, _ := strings.Cut(from, "/")
		return steps("cert-manager should have renewed it, from Certificate "+from+". The reason is here:",
			"kubectl -n "+namespace+" describe certificate "+name, "kubectl -n "+namespace+" get certificaterequests")
	}
	of := "kubectl -n " + c.namespace
	return steps("Start it anew, which renews a certificate that it makes itself, and reads one that was renewed for it:", of+" rollout restart deploy/"+b.deployment.Name,
		"If it presents the same again, its log says why; where its chart has made the certificate, an upgrade makes another:", of+" logs deploy/"+b.deployment.Name+" --tail=50",
		kept(b.deployment.Labels, b.deployment.Annotations))
}
