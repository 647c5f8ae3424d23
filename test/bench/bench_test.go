package bench_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/validators"
)

// cluster has what a real one registers: Holdfast, two revisions of Istio and a tag, Vault, and settings to read.
const cluster = `What a cluster with Istio and Vault looks like.
-- pod.yaml --
spec: {containers: [{name: app}]}
-- webhooks.yaml --
- use: holdfast
- use: istio
- {use: istio, revision: canary}
- {use: istio, revision: canary, tag: prod}
- use: vault
-- cluster.yaml --
istio:
  default: {cni: true, native: auto, injector: {policy: enabled, neverInjectSelector: [{matchLabels: {openshift.io/build.name: x}}]}, defaultConfig: {concurrency: 2}}
  canary: {cni: true, native: "true"}
kubelets: [v1.32.4, v1.33.1, v1.34.0]
vault: {VAULT_ADDR: "http://vault.vault.svc:8200"}
services: {vault/vault: ["10.96.7.7:8200"]}
`

// BenchmarkCreate is the first pass over a pod as its user wrote it: everything is prediction.
func BenchmarkCreate(b *testing.B) { review(b, "pod-create.json", injectors.Rest, []string{"hold"}) }

// BenchmarkInjected is the pod after all injectors, as the second pass sees it.
func BenchmarkInjected(b *testing.B) { review(b, "pod-injected.json", injectors.Rest, nil) }

// BenchmarkValidate is the same pod in /validate: all fact, with hindsight on the remedies.
func BenchmarkValidate(b *testing.B) { review(b, "pod-injected.json", injectors.Fact, nil) }

func review(b *testing.B, file string, horizon injectors.Horizon, remedies []string) {
	b.Helper()
	pod, c := decoded(b, file), place(b)
	when := mutators.Mutating
	if horizon == injectors.Fact {
		when = mutators.Hindsight
	}
	run := func() mutators.Outcome {
		p := injectors.New(injectors.PodTarget(pod, c.Target.Namespace), c.Env, horizon)
		out := mutators.Choose(p, c.Config, when)
		validators.Judge(out.Plan, c.Config)
		return out
	}
	if got := run().Remedies; !slices.Equal(got, remedies) {
		b.Fatalf("remedies: got %v, want %v", got, remedies)
	}
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}

func place(b *testing.B) *cases.Case {
	b.Helper()
	c, err := cases.Parse([]byte(cluster))
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func decoded(b *testing.B, file string) *corev1.Pod {
	b.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		b.Fatal(err)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(data, &review); err != nil {
		b.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(review.Request.Object.Raw, pod); err != nil {
		b.Fatal(err)
	}
	return pod
}
