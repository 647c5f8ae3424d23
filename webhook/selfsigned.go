package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
)

// Lifetimes of self-signed certificates. They are renewed long before their end, so that a cluster that was switched off
// for a while comes back with valid ones.
const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour
	renewBefore  = 90 * 24 * time.Hour
	backdate     = time.Hour // clocks differ

	checkEvery = 6 * time.Hour
	// caSpread is how long the API servers are given to learn of a new CA before a certificate of it is served.
	caSpread  = 20 * time.Second
	firstWait = 500 * time.Millisecond
	longWait  = 30 * time.Second
)

// selfSigned makes a CA and a certificate, keeps both in a Secret, renews them, and puts the CA into our webhook
// configurations. The Secret decides: of several replicas that make one at the same time one is stored, and all serve it.
// The certificate is served from the Secret as an informer sees it, so that no kubelet is waited for.
type selfSigned struct {
	log    logr.Logger
	client kubernetes.Interface
	secret types.NamespacedName
	maker  rotator.CertRotator // for its making of certificates alone: its controller waits for mounted files

	secrets *source
	wake    chan struct{}
	spread  func(ctx context.Context, bundle []byte) error // puts the CA bundle into the webhook configurations
	expires func(time.Time)
	now     func() time.Time

	serving atomic.Pointer[serving]
	newCA   []byte // seen in the Secret, not yet served
	newAt   time.Time
}

// serving is a certificate in use and the CA that signed it.
type serving struct {
	certificate *tls.Certificate
	ca          []byte
}

func newSelfSigned(log logr.Logger, client kubernetes.Interface, secret, service types.NamespacedName, spread func(context.Context, []byte) error, now func() time.Time) (*selfSigned, error) {
	host := service.Name + "." + service.Namespace
	s := &selfSigned{
		log: log, client: client, secret: secret, spread: spread,
		wake: make(chan struct{}, 1), expires: func(time.Time) {}, now: now,
		maker: rotator.CertRotator{
			CAName: "holdfast-ca", CAOrganization: "holdfast", DNSName: host + ".svc",
			ExtraDNSNames: []string{host, host + ".svc.cluster.local"},
			ExtKeyUsages:  &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		},
	}
	// The right to read is for this one Secret: it covers a list only with this selector.
	informer := coreinformers.NewFilteredSecretInformer(client, secret.Namespace, 0, toolscache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, secret.Name).String()
	})
	keep := func(o any) (any, error) { return o, nil }
	always := func(any, any) bool { return true }
	var err error
	s.secrets, err = newSource(log, "secret "+secret.String(), informer, keep, always, s.changed)
	return s, err
}

func (s *selfSigned) changed() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// NeedLeaderElection is false: the Secret keeps replicas from disagreeing.
func (s *selfSigned) NeedLeaderElection() bool { return false }

// Get fits tls.Config.GetCertificate.
func (s *selfSigned) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if in := s.serving.Load(); in != nil {
		return in.certificate, nil
	}
	return nil, errNoCertificate
}

// Start keeps the certificate valid until the context ends. What goes wrong is logged once and tried again.
func (s *selfSigned) Start(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.secrets.run(ctx, s.changed)
	}()
	defer func() { <-done }()
	timer := time.NewTimer(longWait)
	defer timer.Stop()
	wait, last := firstWait, ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		next, err := s.reconcile(ctx)
		switch {
		case err == nil:
			wait, last = firstWait, ""
		case errors.Is(err, context.Canceled):
		default:
			if err.Error() != last {
				s.log.Error(err, "the certificate, or what the webhook configurations know of it, is not in order yet")
			}
			last = err.Error()
			next, wait = wait, min(2*wait, longWait)
		}
		timer.Reset(next)
	}
}

// reconcile brings the Secret, the CA bundles and the served certificate in line, and says when to look again.
func (s *selfSigned) reconcile(ctx context.Context) (time.Duration, error) {
	if !s.secrets.settled() {
		return longWait, nil // woken when it has
	}
	secret, err := s.ensure(ctx)
	if err != nil {
		return 0, err
	}
	pair, err := tls.X509KeyPair(secret.Data[certKey], secret.Data[privateKey])
	if err != nil {
		return 0, fmt.Errorf("read the certificate in secret %s: %w", s.secret, err)
	}
	spreadErr := s.spread(ctx, bundle(secret, s.now()))
	if wait := s.hold(secret.Data[caKey], spreadErr); wait > 0 {
		return wait, spreadErr
	}
	s.serve(&pair, secret.Data[caKey])
	return checkEvery, spreadErr
}

// hold says how long to go on serving the present certificate, although the Secret holds one of another CA: until the
// bundles hold the new CA, and the API servers had time to read them. Nothing valid to go on with means no wait.
func (s *selfSigned) hold(ca []byte, spreadErr error) time.Duration {
	in := s.serving.Load()
	if in == nil || bytes.Equal(in.ca, ca) || in.certificate.Leaf == nil || s.now().After(in.certificate.Leaf.NotAfter) {
		return 0
	}
	if spreadErr != nil {
		return longWait
	}
	if !bytes.Equal(s.newCA, ca) {
		s.newCA, s.newAt = ca, s.now()
	}
	return max(0, caSpread-s.now().Sub(s.newAt))
}

func (s *selfSigned) serve(pair *tls.Certificate, ca []byte) {
	if in := s.serving.Load(); in != nil && bytes.Equal(in.certificate.Certificate[0], pair.Certificate[0]) {
		return
	}
	s.serving.Store(&serving{certificate: pair, ca: ca})
	if pair.Leaf != nil {
		s.expires(pair.Leaf.NotAfter)
		s.log.Info("serving a certificate", "secret", s.secret.String(), "notAfter", pair.Leaf.NotAfter)
	}
}

// ensure returns the Secret with a CA and a certificate that will be valid for a while, made now if need be.
func (s *selfSigned) ensure(ctx context.Context) (*corev1.Secret, error) {
	stored, exists := get[*corev1.Secret](s.secrets, s.secret.String())
	if !exists {
		stored = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.secret.Namespace, Name: s.secret.Name}}
	}
	soon := s.now().Add(renewBefore)
	d := stored.Data
	caValid, _ := rotator.ValidCert(d[caKey], d[caKey], d[caPrivateKey], s.maker.CAName, nil, soon)
	valid := false
	if caValid {
		valid, _ = rotator.ValidCert(d[caKey], d[certKey], d[privateKey], s.maker.DNSName, s.maker.ExtKeyUsages, soon)
	}
	if valid && !s.forgotten(stored) {
		return stored, nil
	}
	secret := stored.DeepCopy()
	if valid {
		secret.Data[previousCAKey] = s.serving.Load().ca
	} else if err := s.renew(secret, caValid); err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	secrets := s.client.CoreV1().Secrets(s.secret.Namespace)
	var err error
	if exists {
		stored, err = secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: Name})
	} else {
		stored, err = secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: Name})
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return nil, fmt.Errorf("another replica has just written secret %s: %w", s.secret, err)
	case err != nil:
		return nil, fmt.Errorf("write secret %s: %w", s.secret, err)
	}
	if !valid {
		s.log.Info("made a certificate", "secret", s.secret.String(), "newCA", !caValid)
	}
	return stored, nil
}

// forgotten tells whether the Secret knows nothing of the CA whose certificate is being served, as after somebody has put
// another certificate into it.
func (s *selfSigned) forgotten(secret *corev1.Secret) bool {
	in := s.serving.Load()
	return in != nil && len(secret.Data[previousCAKey]) == 0 && !bytes.Equal(in.ca, secret.Data[caKey])
}

// renew puts a new certificate into the Secret, of a new CA unless the one in it will do. The CA that is being served stays
// beside it, whether the Secret still held it or not: replicas serve a certificate of it until the new one is known.
func (s *selfSigned) renew(secret *corev1.Secret, caValid bool) error {
	begin := s.now().Add(-backdate)
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	ca, err := parseCA(secret.Data)
	if !caValid || err != nil {
		previous := secret.Data[caKey]
		if in := s.serving.Load(); in != nil {
			previous = in.ca
		}
		if len(previous) > 0 {
			secret.Data[previousCAKey] = previous
		}
		if ca, err = s.maker.CreateCACert(begin, s.now().Add(caLifetime)); err != nil {
			return err
		}
		secret.Data[caKey], secret.Data[caPrivateKey] = ca.CertPEM, ca.KeyPEM
	}
	secret.Data[certKey], secret.Data[privateKey], err = s.maker.CreateCertPEM(ca, begin, s.now().Add(leafLifetime))
	return err
}

func parseCA(data map[string][]byte) (*rotator.KeyPairArtifacts, error) {
	certificate, err := parseCertificate(data[caKey])
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data[caPrivateKey])
	if block == nil {
		return nil, errors.New("no PEM in " + caPrivateKey)
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return &rotator.KeyPairArtifacts{Cert: certificate, Key: key, CertPEM: data[caKey], KeyPEM: data[caPrivateKey]}, nil
}

func parseCertificate(encoded []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(encoded)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// bundle returns the CAs that clients should trust: the one in use and, while it is valid, the one before.
func bundle(secret *corev1.Secret, now time.Time) []byte {
	out := bytes.Clone(secret.Data[caKey])
	previous, err := parseCertificate(secret.Data[previousCAKey])
	if err == nil && now.Before(previous.NotAfter) {
		out = append(out, secret.Data[previousCAKey]...)
	}
	return out
}
