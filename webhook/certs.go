package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// Names of the files in a certificate directory and of the keys in the Secret, those of Secrets of type kubernetes.io/tls.
const (
	certKey       = "tls.crt"
	privateKey    = "tls.key"
	caKey         = "ca.crt"
	caPrivateKey  = "ca.key"
	previousCAKey = "ca-previous.crt"
)

var errNoCertificate = errors.New("no certificate yet")

// certificates is where the served certificate comes from. Start keeps it up to date until the context ends.
type certificates interface {
	Start(ctx context.Context) error
	Get(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// fileCertificates serves a certificate from a directory, and another one as soon as the files change.
type fileCertificates struct {
	watcher *certwatcher.CertWatcher
}

// newFileCertificates reads the files once; expires is told when the certificate in use ends.
func newFileCertificates(dir string, expires func(time.Time)) (*fileCertificates, error) {
	w, err := certwatcher.New(filepath.Join(dir, certKey), filepath.Join(dir, privateKey))
	if err != nil {
		return nil, fmt.Errorf("read the certificate in %s: %w", dir, err)
	}
	w.RegisterCallback(func(c tls.Certificate) {
		if c.Leaf != nil {
			expires(c.Leaf.NotAfter)
		}
	})
	return &fileCertificates{watcher: w}, nil
}

// Start follows the files.
func (f *fileCertificates) Start(ctx context.Context) error { return f.watcher.Start(ctx) }

// NeedLeaderElection is false: every replica serves.
func (f *fileCertificates) NeedLeaderElection() bool { return false }

// Get fits tls.Config.GetCertificate.
func (f *fileCertificates) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.watcher.GetCertificate(hello)
}
