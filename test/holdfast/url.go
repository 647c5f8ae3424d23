package holdfast

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"holdfast.dev/holdfast/test/vaultinjector"
)

// useURLs takes free ports on loopback and points the webhooks at them instead of at the Service. The certificate that
// Holdfast makes by itself is good for its Service alone, and only entries that lead there get its CA: it is given another
// one, as by a user who runs it outside of a cluster.
func (i *Installation) useURLs(ctx context.Context) error {
	for _, e := range [...]*string{&i.local.webhook, &i.local.health, &i.local.metrics} {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		*e = l.Addr().String()
		if err := l.Close(); err != nil {
			return err
		}
	}
	certificate, err := vaultinjector.NewCertificate("127.0.0.1")
	if err != nil {
		return err
	}
	if i.certificates, err = writeCertificate(i.dir, certificate); err != nil {
		return err
	}
	bundle := base64.StdEncoding.EncodeToString(certificate.CABundle)
	return i.eachWebhook(func(client map[string]any) {
		path, _, _ := unstructured.NestedString(client, "service", "path")
		delete(client, "service")
		client["url"], client["caBundle"] = "https://"+i.local.webhook+path, bundle
	})
}

// writeCertificate writes a certificate as --cert-dir wants it, into a folder below dir.
func writeCertificate(dir string, c *vaultinjector.Certificate) (string, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.Pair.PrivateKey)
	if err != nil {
		return "", fmt.Errorf("encode key: %w", err)
	}
	dir = filepath.Join(dir, "certificate")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: c.Pair.Certificate[0]},
		"tls.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// eachWebhook changes the client configuration of every entry of both webhook configurations.
func (i *Installation) eachWebhook(change func(client map[string]any)) error {
	for _, object := range i.objects {
		if !strings.HasSuffix(object.GetKind(), "WebhookConfiguration") {
			continue
		}
		entries, _, err := unstructured.NestedSlice(object.Object, "webhooks")
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if client, ok := entry.(map[string]any)["clientConfig"].(map[string]any); ok {
				change(client)
			}
		}
		if err := unstructured.SetNestedSlice(object.Object, entries, "webhooks"); err != nil {
			return err
		}
	}
	return nil
}
