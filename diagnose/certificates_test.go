package diagnose

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestSecretNameIsAWord: cert-manager's kind lets anything be the name of a Secret, and commands name it.
func TestSecretNameIsAWord(t *testing.T) {
	c, err := decodeCertificate(&unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "c"}, "spec": map[string]any{"secretName": "x; reboot #", "duration": "90d"}, "status": "none",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "x__reboot__"; c.Spec.SecretName != want {
		t.Errorf("got %q, want %q", c.Spec.SecretName, want)
	}
}

func TestMalformedCertificate(t *testing.T) {
	_, err := decodeCertificate(&unstructured.Unstructured{Object: map[string]any{
		"kind": "Certificate", "metadata": map[string]any{"name": "c", "namespace": "n"}, "spec": map[string]any{"dnsNames": "a.example"},
	}})
	if err == nil || err.Error() == "" {
		t.Errorf("got %v, want an error", err)
	}
}
