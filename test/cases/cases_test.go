package cases_test

import (
	"strings"
	"testing"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/test/cases"
)

func TestParseRefuses(t *testing.T) {
	const pod = "-- pod.yaml --\nspec: {containers: [{name: app}]}\n"
	for name, c := range map[string]struct{ text, want string }{
		"no reason":                 {pod, "why the case exists"},
		"an unknown part":           {"Why.\n" + pod + "-- pood.yaml --\n", "unknown part pood.yaml"},
		"a part twice":              {"Why.\n" + pod + pod, "twice"},
		"no object":                 {"Why.\n-- want --\n", "want either"},
		"two objects":               {"Why.\n" + pod + "-- workload.yaml --\nkind: Job\n", "want either"},
		"an unknown field":          {"Why.\n-- pod.yaml --\nspec: {contaners: []}\n", `unknown field "contaners"`},
		"an unknown kind":           {"Why.\n-- workload.yaml --\nkind: Knative\n", `"Knative" is no workload`},
		"an unknown webhook":        {"Why.\n" + pod + "-- webhooks.yaml --\n- use: nosuch\n", `nosuch`},
		"an unknown webhook field":  {"Why.\n" + pod + "-- webhooks.yaml --\n- {use: istio, rev: x}\n", `unknown field "rev"`},
		"an unknown cluster field":  {"Why.\n" + pod + "-- cluster.yaml --\nnodes: []\n", `unknown field "nodes"`},
		"a wrong address":           {"Why.\n" + pod + "-- cluster.yaml --\nservices: {vault/vault: [10.96.7.7]}\n", "vault/vault"},
		"a service with no slash":   {"Why.\n" + pod + "-- cluster.yaml --\nservices: {vault: []}\n", "NAMESPACE/NAME"},
		"an unknown place":          {"Why.\n" + pod + "-- cluster.yaml --\nat: rest\n", "mutate or validate"},
		"a wrong configuration":     {"Why.\n" + pod + "-- config.yaml --\nmode: audit\n", "config.yaml"},
		"a namespace with no name":  {"Why.\n" + pod + "-- namespace.yaml --\nmetadata: {labels: {a: b}}\n", "metadata.name"},
		"webhooks that are no list": {"Why.\n" + pod + "-- webhooks.yaml --\nuse: istio\n", "want a list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := cases.Parse([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	c, err := cases.Parse([]byte(`Why.
-- pod.yaml --
metadata: {name: web}
spec: {containers: [{name: app, image: x}]}
-- namespace.yaml --
metadata: {name: cafe, labels: {istio.io/rev: prod}}
-- webhooks.yaml --
- {use: vault, name: 0-a-vault}
- {use: istio, revision: canary, tag: prod, reinvocation: IfNeeded}
- use: istio
- use: holdfast
- apiVersion: admissionregistration.k8s.io/v1
  kind: MutatingWebhookConfiguration
  metadata: {name: b}
  webhooks:
  - name: b.example.com
    clientConfig: {url: "https://example.com"}
    rules: [{operations: ["*"], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
    sideEffects: None
    admissionReviewVersions: [v1]
-- cluster.yaml --
istio: {canary: {cni: true, native: auto}}
kubelets: [v1.33.0]
services: {vault/vault: ["10.96.7.7:8200"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, h := range c.Target.Namespace.Hooks {
		order = append(order, h.Configuration)
	}
	if got, want := strings.Join(order, " "), "0-a-vault 0-holdfast b istio-revision-tag-prod"; got != want {
		t.Errorf("hooks: got %s, want %s", got, want)
	}
	istio := c.Target.Namespace.Hooks[3]
	if s := istio.Settings; istio.Revision != "canary" || !istio.Reinvoked || s.CNI != injectors.Yes || s.Native != injectors.Yes {
		t.Errorf("istio: got %+v with settings %+v, want revision canary, reinvoked, CNI and native", istio, s)
	}
	if !c.Target.Namespace.Hooks[1].Self || c.Horizon != injectors.Rest || c.Why != "Why." {
		t.Errorf("got self %v, horizon %v, why %q", c.Target.Namespace.Hooks[1].Self, c.Horizon, c.Why)
	}
	if !c.Env.Now().Equal(cases.Now()) {
		t.Errorf("now: got %v, want %v", c.Env.Now(), cases.Now())
	}
	svc, ok := c.Env.Services("vault", "vault")
	if !ok || len(svc.ClusterIPs) != 1 || svc.Ports[0].Port != 8200 {
		t.Errorf("service: got %+v, %v", svc, ok)
	}
}
