package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

func validatingConfiguration(name, ns, service string) *admissionregistrationv1.ValidatingWebhookConfiguration {
	path := ValidatePath
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1", Labels: map[string]string{NameLabel: "a-layer-of-mine"}},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "pods.validate.holdfast.dev",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				Service: &admissionregistrationv1.ServiceReference{Namespace: ns, Name: service, Path: &path},
			},
		}},
	}
}

// watched is an edge that counts entries, with a certificate that only the bundle "CA" covers.
func watched(t *testing.T, objects ...runtime.Object) *edge {
	t.Helper()
	e := newEdge(t, edgeOptions{unread: true, objects: objects})
	e.cluster.called = e.metrics.called
	e.cluster.trusts = func(bundle []byte) bool { return string(bundle) == "CA" }
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	for _, s := range e.cluster.all {
		go s.run(ctx, func() {})
	}
	eventually(t, func() error {
		for _, s := range e.cluster.all {
			if !s.settled() {
				return errors.New(s.name)
			}
		}
		return nil
	})
	return e
}

func (e *edge) entries(t *testing.T) string {
	t.Helper()
	g := e.metrics.entries
	return fmt.Sprint(counted(t, g.WithLabelValues("mutating", "trusted")), counted(t, g.WithLabelValues("mutating", "untrusted")),
		counted(t, g.WithLabelValues("validating", "trusted")), counted(t, g.WithLabelValues("validating", "untrusted")))
}

func TestNobodyCalls(t *testing.T) {
	t.Parallel()
	e := watched(t, validatingConfiguration("another", "elsewhere", "holdfast"))
	for range 3 {
		e.cluster.inspect()
	}
	if got := e.entries(t); got != "0 0 0 0" {
		t.Errorf("entries: got %s, want none", got)
	}
	if n := strings.Count(e.logged.String(), "no mutating webhook configuration calls Holdfast: nothing is put right; no validating webhook configuration"); n != 1 {
		t.Errorf("said %d times, want once:\n%s", n, e.logged)
	}
}

// TestOurServiceIsEnough changes the label, as a layer of a user's does.
func TestOurServiceIsEnough(t *testing.T) {
	t.Parallel()
	mutating := mutatingConfiguration("0-holdfast", "pods.mutate.holdfast.dev", "holdfast-system", "holdfast", "/mutate", map[string]string{NameLabel: "a-layer-of-mine"}, true)
	e := watched(t, mutating, validatingConfiguration("holdfast", "holdfast-system", "holdfast"))
	e.cluster.inspect()
	if got := e.entries(t); got != "0 1 0 1" {
		t.Errorf("before the CA is spread: got %s, want two that do not trust us", got)
	}
	if !strings.Contains(e.logged.String(), "the caBundle of 0-holdfast, holdfast") {
		t.Errorf("log:\n%s", e.logged)
	}
	if err := e.cluster.SpreadCA(t.Context(), []byte("CA")); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		e.cluster.inspect()
		if got := e.entries(t); got != "1 0 1 0" {
			return fmt.Errorf("got %s, want two that trust us", got)
		}
		return nil
	})
	if !strings.Contains(e.logged.String(), "and trusts it") {
		t.Errorf("log:\n%s", e.logged)
	}
}

func TestTrusted(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, fake.NewClientset(), time.Now)
	service := secretName()
	service.Name = "holdfast"
	if !trusted(a.selfSigned, nil, service, time.Now()) {
		t.Error("nothing is served yet, and that is complained of")
	}
	a.settle(t)
	if !trusted(a.selfSigned, a.spreadBundle(), service, time.Now()) {
		t.Error("our own bundle does not cover our certificate")
	}
	other := newAuthority(t, fake.NewClientset(), time.Now)
	other.settle(t)
	elsewhere := service
	elsewhere.Name = "other"
	for name, got := range map[string]bool{
		"no bundle":       trusted(a.selfSigned, nil, service, time.Now()),
		"another CA":      trusted(a.selfSigned, other.spreadBundle(), service, time.Now()),
		"another Service": trusted(a.selfSigned, a.spreadBundle(), elsewhere, time.Now()),
		"after its end":   trusted(a.selfSigned, a.spreadBundle(), service, time.Now().Add(2*leafLifetime)),
	} {
		if got {
			t.Errorf("%s: trusted", name)
		}
	}
}
