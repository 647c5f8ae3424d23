package diagnose

import (
	"strings"
	"testing"
)

// TestLocate: what is printed about one Holdfast is not to be done to another, nor to what somebody calls by its name.
func TestLocate(t *testing.T) {
	t.Parallel()
	const (
		gone   = "delete: [MutatingWebhookConfiguration/0-holdfast, ValidatingWebhookConfiguration/holdfast]\n"
		tenant = `
apiVersion: v1
kind: Service
metadata: {name: holdfast, namespace: aaa-tenant, labels: {app.kubernetes.io/name: holdfast}}
spec: {ports: [{port: 443}]}
`
		second = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: b-holdfast, labels: {app.kubernetes.io/name: holdfast}}
webhooks: [{name: pods.validate.holdfast.dev, clientConfig: {service: {namespace: b, name: b-holdfast}}}]
`
	)
	for name, c := range map[string]struct {
		change, add string
		own         Own
		want        Own
		wrong       string
	}{
		"by the configurations":          {want: Own{Namespace: "holdfast-system", Service: "holdfast"}},
		"flags":                          {own: Own{Namespace: "x", Service: "y"}, want: Own{Namespace: "x", Service: "y"}},
		"two, one without a Service":     {add: second, want: Own{Namespace: "holdfast-system", Service: "holdfast"}},
		"two":                            {add: second + "---" + strings.ReplaceAll(strings.ReplaceAll(tenant, "aaa-tenant", "b"), "name: holdfast,", "name: b-holdfast,"), wrong: "there is more than one Holdfast: holdfast-system/holdfast, b/b-holdfast"},
		"two, one is meant":              {add: second, own: Own{Namespace: "b"}, want: Own{Namespace: "b", Service: "b-holdfast"}},
		"no configuration":               {change: gone, want: Own{Namespace: "holdfast-system", Service: "holdfast"}},
		"no configuration, and a tenant": {change: gone, add: tenant, want: Own{Namespace: "holdfast-system", Service: "holdfast"}},
		"nothing but a tenant": {
			change: strings.Replace(gone, "]", ", Service/holdfast]", 1), add: tenant,
			wrong: "no webhook configuration of Holdfast is there to go by, and its Service may be aaa-tenant/holdfast",
		},
		"nothing, in its own pod": {change: strings.Replace(gone, "]", ", Service/holdfast]", 1), add: tenant, own: Own{Namespace: "b"}, want: Own{Namespace: "b", Service: "holdfast"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCase(t, map[string]string{"change.yaml": c.change, "add.yaml": c.add}, newSigner(t, "ours"), newSigner(t, "other"))
			s.Own = c.own
			got, err := s.Locate(t.Context())
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("got error %v, want %q", err, c.wrong)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}
