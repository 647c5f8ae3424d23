package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const host = "holdfast.holdfast-system.svc"

func secretName() types.NamespacedName {
	return types.NamespacedName{Namespace: "holdfast-system", Name: "holdfast-cert"}
}

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// authority is one replica's certificates, with what it has spread.
type authority struct {
	*selfSigned
	mu     sync.Mutex
	bundle []byte
	fail   error
}

func (a *authority) put(_ context.Context, bundle []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail == nil {
		a.bundle = bundle
	}
	return a.fail
}

func (a *authority) spreadBundle() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bundle
}

func newAuthority(t *testing.T, client *fake.Clientset, now func() time.Time) *authority {
	t.Helper()
	a := &authority{}
	var err error
	a.selfSigned, err = newSelfSigned(logr.Discard(), client, secretName(), types.NamespacedName{Namespace: "holdfast-system", Name: "holdfast"}, a.put, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// verify tells whether a client that trusts the bundle accepts what is served.
func (a *authority) verify(bundle []byte, at time.Time) error {
	c, err := a.Get(nil)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return errors.New("the bundle is empty")
	}
	_, err = c.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, CurrentTime: at})
	return err
}

func TestSelfSignedCertificateIsMadeAndServed(t *testing.T) {
	t.Parallel()
	empty := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "holdfast-system", Name: "holdfast-cert"}}
	for name, objects := range map[string][]runtime.Object{"secret of the manifests": {empty}, "no secret": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t, fake.NewClientset(objects...), time.Now)
			if _, err := a.Get(nil); !errors.Is(err, errNoCertificate) {
				t.Errorf("before the start: got %v, want %v", err, errNoCertificate)
			}
			a.start(t)
			eventually(t, func() error { return a.verify(a.spreadBundle(), time.Now()) })
		})
	}
}

func TestReplicasServeTheSame(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "holdfast-system", Name: "holdfast-cert", ResourceVersion: "1"}})
	countVersions(client)
	a, b := newAuthority(t, client, time.Now), newAuthority(t, client, time.Now)
	a.start(t)
	b.start(t)
	eventually(t, func() error {
		x, errX := a.Get(nil)
		y, errY := b.Get(nil)
		if err := errors.Join(errX, errY); err != nil {
			return err
		}
		stored, err := client.CoreV1().Secrets("holdfast-system").Get(t.Context(), "holdfast-cert", metav1.GetOptions{})
		if err != nil {
			return err
		}
		pair, err := tls.X509KeyPair(stored.Data[certKey], stored.Data[privateKey])
		if err != nil {
			return err
		}
		for name, c := range map[string]*tls.Certificate{"first": x, "second": y} {
			if !bytes.Equal(c.Certificate[0], pair.Certificate[0]) {
				return fmt.Errorf("the %s replica serves another certificate than the secret holds", name)
			}
		}
		return nil
	})
}

// countVersions makes the fake API server refuse writes of what has changed in between.
func countVersions(client *fake.Clientset) {
	var mu sync.Mutex
	version := 1
	client.PrependReactor("update", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		s, ok := action.(clienttesting.UpdateAction).GetObject().(*corev1.Secret)
		if !ok || s.ResourceVersion != strconv.Itoa(version) {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "holdfast-cert", errors.New("changed"))
		}
		version++
		s.ResourceVersion = strconv.Itoa(version)
		return false, nil, nil
	})
}

// settle runs rounds by hand until the certificates are in order.
func (a *authority) settle(t *testing.T) {
	t.Helper()
	go a.secrets.run(t.Context(), a.changed)
	eventually(t, func() error {
		if _, err := a.reconcile(t.Context()); err != nil {
			return err
		}
		_, err := a.Get(nil)
		return err
	})
}

// stored brings the informer's copy in line with the Secret: the fake API server does not count versions, so that informers
// take changes for none.
func (a *authority) stored(t *testing.T, client *fake.Clientset) *corev1.Secret {
	t.Helper()
	s, err := client.CoreV1().Secrets("holdfast-system").Get(t.Context(), "holdfast-cert", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.secrets.informer.GetStore().Update(s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCertificateIsRenewedUnderItsCA(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	client := fake.NewClientset()
	a := newAuthority(t, client, c.now)
	a.settle(t)
	ca := a.stored(t, client).Data[caKey]
	before, _ := a.Get(nil)
	c.forward(leafLifetime - renewBefore + time.Hour)
	if _, err := a.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, _ := a.Get(nil)
	if bytes.Equal(before.Certificate[0], after.Certificate[0]) {
		t.Error("the certificate was not renewed")
	}
	if !bytes.Equal(ca, a.stored(t, client).Data[caKey]) {
		t.Error("the CA was replaced")
	}
	if err := a.verify(ca, c.now()); err != nil {
		t.Error(err)
	}
}

func TestNewCAIsKnownBeforeItIsUsed(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	client := fake.NewClientset()
	a := newAuthority(t, client, c.now)
	a.settle(t)
	s := a.stored(t, client)
	oldBundle := a.spreadBundle()
	before, _ := a.Get(nil)

	// Somebody spoils the CA's key: a new CA must be made, long before the old one ends.
	s.Data[caPrivateKey] = nil
	if _, err := client.CoreV1().Secrets("holdfast-system").Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	a.stored(t, client)
	a.fail = errors.New("forbidden")
	for range 2 { // the bundles cannot be written: the old certificate is served on
		if wait, err := a.reconcile(t.Context()); !errors.Is(err, a.fail) || wait <= 0 {
			t.Errorf("got %v, %v; want the failure to spread the CA", wait, err)
		}
		a.stored(t, client)
	}
	a.fail = nil
	wait, err := a.reconcile(t.Context())
	if err != nil || wait != caSpread {
		t.Errorf("got %v, %v; want to wait %v", wait, err, caSpread)
	}
	if now, _ := a.Get(nil); !bytes.Equal(before.Certificate[0], now.Certificate[0]) {
		t.Error("the new certificate is served before the API servers know its CA")
	}
	if err := a.verify(a.spreadBundle(), c.now()); err != nil {
		t.Errorf("the new bundle does not cover the old certificate: %v", err)
	}
	c.forward(caSpread)
	if _, err := a.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.verify(a.spreadBundle(), c.now()); err != nil {
		t.Error(err)
	}
	if err := a.verify(oldBundle, c.now()); err == nil {
		t.Error("the certificate is not of the new CA")
	}
}

// TestServedCAStaysKnown takes the Secret away in the ways that people do: the certificate that is served meanwhile must be
// good under every bundle that is spread.
func TestServedCAStaysKnown(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, s *corev1.Secret){
		"wiped": func(_ *testing.T, s *corev1.Secret) { s.Data = nil },
		"another certificate": func(t *testing.T, s *corev1.Secret) {
			s.Data = nil
			if err := newAuthority(t, fake.NewClientset(), time.Now).renew(s, false); err != nil {
				t.Fatal(err)
			}
		},
		"deleted": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &clock{at: time.Now()}
			client := fake.NewClientset()
			a := newAuthority(t, client, c.now)
			a.settle(t)
			s := a.stored(t, client)
			before, _ := a.Get(nil)
			secrets := client.CoreV1().Secrets("holdfast-system")
			if spoil == nil {
				if err := secrets.Delete(t.Context(), s.Name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				eventually(t, func() error {
					if _, ok := get[*corev1.Secret](a.secrets, a.secret.String()); ok {
						return errors.New("the informer still holds the secret")
					}
					return nil
				})
			} else {
				spoil(t, s)
				if _, err := secrets.Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				a.stored(t, client)
			}
			if _, err := a.reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if now, _ := a.Get(nil); !bytes.Equal(before.Certificate[0], now.Certificate[0]) {
				t.Error("the new certificate is served before the API servers know its CA")
			}
			if err := a.verify(a.spreadBundle(), c.now()); err != nil {
				t.Errorf("the new bundle does not cover the certificate that is served: %v", err)
			}
			a.stored(t, client)
			c.forward(caSpread)
			if _, err := a.reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if now, _ := a.Get(nil); bytes.Equal(before.Certificate[0], now.Certificate[0]) {
				t.Error("the new certificate is not served")
			}
			if err := a.verify(a.spreadBundle(), c.now()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCAReachesEveryEntryOfOursAndNoOther(t *testing.T) {
	t.Parallel()
	entry := func(name, ns, service string) admissionregistrationv1.ValidatingWebhook {
		return admissionregistrationv1.ValidatingWebhook{Name: name, ClientConfig: admissionregistrationv1.WebhookClientConfig{
			Service: &admissionregistrationv1.ServiceReference{Namespace: ns, Name: service},
		}}
	}
	ours := mutatingConfiguration("x-0-holdfast", "pods.mutate.holdfast.dev", "holdfast-system", "holdfast", "/mutate", map[string]string{NameLabel: Name}, true)
	ours.Webhooks = append(ours.Webhooks, *ours.Webhooks[0].DeepCopy(), *ours.Webhooks[0].DeepCopy())
	ours.Webhooks[1].Name, ours.Webhooks[2].Name = "workloads.mutate.holdfast.dev", "elsewhere.example.com"
	ours.Webhooks[2].ClientConfig.Service.Namespace = "elsewhere"
	unlabelled := mutatingConfiguration("unlabelled", "a.example.com", "holdfast-system", "holdfast", "/mutate", nil, true)
	judge := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "x-holdfast", Labels: map[string]string{NameLabel: "a-layer-of-mine"}},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{
			entry("pods.validate.holdfast.dev", "holdfast-system", "holdfast"), entry("b.example.com", "holdfast-system", "other"),
		},
	}
	e := newEdge(t, edgeOptions{objects: []runtime.Object{ours, unlabelled, judge}})
	if err := e.cluster.SpreadCA(t.Context(), []byte("CA")); err != nil {
		t.Fatal(err)
	}
	admission := e.client.AdmissionregistrationV1()
	got := map[string]string{}
	for _, name := range []string{"x-0-holdfast", "unlabelled"} {
		c, err := admission.MutatingWebhookConfigurations().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range c.Webhooks {
			got[w.Name] = string(w.ClientConfig.CABundle)
		}
	}
	c, err := admission.ValidatingWebhookConfigurations().Get(t.Context(), "x-holdfast", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range c.Webhooks {
		got[w.Name] = string(w.ClientConfig.CABundle)
	}
	want := map[string]string{
		"pods.mutate.holdfast.dev": "CA", "workloads.mutate.holdfast.dev": "CA", "elsewhere.example.com": "", "a.example.com": "CA",
		"pods.validate.holdfast.dev": "CA", "b.example.com": "",
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: got CA %q, want %q", name, got[name], want[name])
		}
	}
	eventually(t, func() error { // what is there is not written again
		e.client.ClearActions()
		if err := e.cluster.SpreadCA(t.Context(), []byte("CA")); err != nil {
			return err
		}
		for _, a := range e.client.Actions() {
			if a.GetVerb() == "patch" {
				return errors.New("patched again")
			}
		}
		return nil
	})
}

// write puts a certificate of its own CA for host into a directory.
func write(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	maker := newAuthority(t, fake.NewClientset(), time.Now)
	s := &corev1.Secret{}
	if err := maker.renew(s, false); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{privateKey, certKey} {
		temporary := filepath.Join(dir, name+".new")
		if err := os.WriteFile(temporary, s.Data[name], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := parseCertificate(s.Data[certKey])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificateFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := newFileCertificates(dir, func(time.Time) {}); err == nil {
		t.Error("an empty directory is no error")
	}
	first := write(t, dir)
	f, err := newFileCertificates(dir, func(time.Time) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: f.Get})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.(*tls.Conn).HandshakeContext(ctx)
			}()
		}
	}()
	serves := func(want *x509.Certificate) func() error {
		return func() error {
			d := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Second}, Config: &tls.Config{InsecureSkipVerify: true}}
			c, err := d.DialContext(ctx, "tcp", listener.Addr().String())
			if err != nil {
				return err
			}
			defer c.Close()
			if got := c.(*tls.Conn).ConnectionState().PeerCertificates[0]; !got.Equal(want) {
				return errors.New("another certificate is served")
			}
			return nil
		}
	}
	eventually(t, serves(first))
	eventually(t, serves(write(t, dir)))
}
