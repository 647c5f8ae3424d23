package main

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"holdfast.dev/holdfast/test/holdfast"
	"holdfast.dev/holdfast/test/vaultinjector"
)

// byURL gives Holdfast a certificate for loopback, as a user does who runs it outside of a cluster: the one that it makes by
// itself is good for its Service alone, and only entries that lead there get its CA.
func byURL(o *holdfast.Options, dir string) error {
	certificate, err := vaultinjector.NewCertificate("127.0.0.1")
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.Pair.PrivateKey)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	dir = filepath.Join(dir, "holdfast-certificate")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: certificate.Pair.Certificate[0]},
		"tls.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	o.Args = append(o.Args, "--cert-dir="+dir)
	o.Edit = func(objects []*unstructured.Unstructured) { trust(objects, certificate.CABundle) }
	return nil
}

// trust puts a CA bundle into every webhook.
func trust(objects []*unstructured.Unstructured, bundle []byte) {
	for _, object := range objects {
		webhooks, ok := object.Object["webhooks"].([]any)
		if !ok || !strings.HasSuffix(object.GetKind(), "WebhookConfiguration") {
			continue
		}
		for _, w := range webhooks {
			if fields, ok := w.(map[string]any); ok {
				_ = unstructured.SetNestedField(fields, base64.StdEncoding.EncodeToString(bundle), "clientConfig", "caBundle")
			}
		}
	}
}
