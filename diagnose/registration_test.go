package diagnose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"holdfast.dev/holdfast/manifests"
)

// TestInstallation: a configuration that is gone is made again after the one that is left.
func TestInstallation(t *testing.T) {
	t.Parallel()
	ours := newSigner(t, "ours")
	const gone = "delete: [MutatingWebhookConfiguration/0-holdfast]\n"
	base := manifests.Installation{Namespace: "holdfast-system", Service: "holdfast", Mutating: admissionregistrationv1.Ignore, Validating: admissionregistrationv1.Ignore, CABundle: ours.bundle()}
	with := func(change func(*manifests.Installation)) manifests.Installation {
		i := base
		change(&i)
		return i
	}
	for name, c := range map[string]struct {
		change string
		from   string
		want   manifests.Installation
	}{
		"nothing is gone": {"", "mutatingwebhookconfiguration/0-holdfast", base},
		"as shipped":      {gone, "validatingwebhookconfiguration/holdfast", base},
		"opt-in": {gone + `patch:
  ValidatingWebhookConfiguration/holdfast:
  - {op: add, path: /webhooks/0/namespaceSelector/matchExpressions/-, value: {key: holdfast.dev/mode, operator: Exists}}
`, "validatingwebhookconfiguration/holdfast", with(func(i *manifests.Installation) { i.OptIn = true })},
		"failing closed": {gone + `patch:
  ValidatingWebhookConfiguration/holdfast:
  - {op: replace, path: /webhooks/0/failurePolicy, value: Fail}
`, "validatingwebhookconfiguration/holdfast", with(func(i *manifests.Installation) {
			i.Mutating, i.Validating = admissionregistrationv1.Fail, admissionregistrationv1.Fail
		})},
		"cert-manager puts the CA in": {gone + `patch:
  ValidatingWebhookConfiguration/holdfast:
  - {op: add, path: /metadata/annotations, value: {cert-manager.io/inject-ca-from: holdfast-system/holdfast-serving}}
`, "validatingwebhookconfiguration/holdfast", with(func(i *manifests.Installation) {
			i.CABundle, i.InjectFrom = nil, "holdfast-system/holdfast-serving"
		})},
		"nothing is left": {
			"delete: [MutatingWebhookConfiguration/0-holdfast, ValidatingWebhookConfiguration/holdfast]\n", "",
			manifests.Installation{Namespace: "holdfast-system", Service: "holdfast"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCase(t, map[string]string{"change.yaml": c.change}, ours, newSigner(t, "other"))
			got, from, err := s.Installation(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if from != c.from {
				t.Errorf("from: got %q, want %q", from, c.from)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			m, v, err := s.Webhooks(t.Context(), got)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Webhooks) != 5 || len(v.Webhooks) != 5 {
				t.Errorf("got %d mutating and %d validating entries, want 5 of each", len(m.Webhooks), len(v.Webhooks))
			}
		})
	}
}

// TestWebhooksThatAreThere: a configuration that lost an entry gets it back, and keeps what somebody has changed in it.
func TestWebhooksThatAreThere(t *testing.T) {
	t.Parallel()
	s := newCase(t, map[string]string{"change.yaml": `
patch:
  MutatingWebhookConfiguration/0-holdfast:
  - {op: replace, path: /webhooks/0/timeoutSeconds, value: 9}
  - {op: remove, path: /webhooks/4}
`}, newSigner(t, "ours"), newSigner(t, "other"))
	i, _, err := s.Installation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := s.Webhooks(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	if got := *m.Webhooks[0].TimeoutSeconds; got != 9 {
		t.Errorf("timeoutSeconds: got %d, want 9", got)
	}
	if last := m.Webhooks[len(m.Webhooks)-1]; last.Name != "probe.mutate.holdfast.dev" || len(last.ClientConfig.CABundle) == 0 {
		t.Errorf("got %s last, with a CA of %d bytes; want the probe's entry with one", last.Name, len(last.ClientConfig.CABundle))
	}
}
