package mutators_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/test/truth"
)

// TestChain sends the pod of every row of the measured table through a simulated API server: Holdfast, Istio, Vault, and one
// more round for who asks for it. Each stuck row is cured by the narrowest remedy, the others get hold at most, and audit
// mode, which sees only what came of the pod without Holdfast, names the same remedies.
func TestChain(t *testing.T) {
	for _, row := range truth.Table() {
		t.Run(row.String(), func(t *testing.T) {
			t.Parallel()
			c := rowCase(t, row)

			bare := chain(t, c, row, false)
			if got := strings.Join(order(bare), ", "); got != row.Order {
				t.Fatalf("without Holdfast: got init containers %s, want %s", got, row.Order)
			}
			if got := len(errorsLeft(bare, c.Config)) > 0; got != row.Stuck() {
				t.Errorf("without Holdfast: got an error %v, want %v", got, row.Stuck())
			}

			cured := chain(t, c, row, true)
			want := remediesOf(row)
			if got := cured.Target.Annotation(mutators.AppliedAnnotation); got != want {
				t.Errorf("remedies: got %q, want %q", got, want)
			}
			if left := errorsLeft(cured, c.Config); len(left) > 0 {
				t.Errorf("got errors %v left, want none", left)
			}
			hindsight := mutators.Choose(bare, c.Config, mutators.Hindsight)
			if got := strings.Join(hindsight.Remedies, ","); got != want {
				t.Errorf("remedies in hindsight: got %q, want %q", got, want)
			}
			if got := errorsLeft(hindsight.Plan, c.Config); len(got) > 0 {
				t.Errorf("errors left in hindsight: got %v, want none", got)
			}
			template := mutators.Choose(templatePlan(t, c), c.Config, mutators.Foresight)
			if got := strings.Join(template.Remedies, ","); got != want {
				t.Errorf("remedies in foresight: got %q, want %q", got, want)
			}
		})
	}
}

// TestChainWithoutRemedies holds that with every remedy off the six stuck rows are what they were, and no pod is touched.
func TestChainWithoutRemedies(t *testing.T) {
	var off strings.Builder
	for _, name := range config.Remedies() {
		fmt.Fprintf(&off, "  %s: false\n", name)
	}
	c, err := config.Load([]byte("remedies:\n" + off.String()))
	if err != nil {
		t.Fatal(err)
	}
	stuck := 0
	for _, row := range truth.Table() {
		rc := rowCase(t, row)
		rc.Config = c
		p := chain(t, rc, row, true)
		if got := strings.Join(order(p), ", "); got != row.Order {
			t.Errorf("%s: got init containers %s, want %s", row, got, row.Order)
		}
		if len(errorsLeft(p, c)) > 0 {
			stuck++
		}
	}
	if stuck != 6 {
		t.Errorf("got %d stuck rows, want 6", stuck)
	}
}

func remediesOf(row truth.Row) string {
	switch {
	case row.Number == 1:
		return "hold,reorder"
	case row.Number == 14:
		return "reorder"
	case row.Stuck():
		return "hold,exempt-address"
	case !row.Native:
		return "hold"
	}
	return ""
}

func rowCase(t *testing.T, row truth.Row) *cases.Case {
	t.Helper()
	annotations, reinvocation := `vault.hashicorp.com/agent-inject: "true"`, "Never"
	if row.InitFirst {
		annotations += `, vault.hashicorp.com/agent-init-first: "true"`
	}
	if row.Reinvoked {
		reinvocation = "IfNeeded"
	}
	c, err := cases.Parse(fmt.Appendf(nil, `Row %d of the table.
-- pod.yaml --
metadata: {name: web, annotations: {%s}}
spec:
  initContainers: [{name: migrate, image: migrate}]
  containers: [{name: app, image: app}]
-- webhooks.yaml --
- use: holdfast
- {use: istio, reinvocation: %s}
- use: vault
-- cluster.yaml --
istio: {default: {cni: %v, native: "%v"}}
vault: {VAULT_ADDR: "http://vault.vault.svc:8200"}
services: {vault/vault: ["10.96.7.7:8200"]}
`, row.Number, annotations, reinvocation, row.CNI, row.Native))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func templatePlan(t *testing.T, c *cases.Case) *injectors.Plan {
	t.Helper()
	target, err := c.Decode(fmt.Appendf(nil, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"template":%s}}`, c.Raw))
	if err != nil {
		t.Fatal(err)
	}
	return injectors.New(target, c.Env, injectors.All)
}

// chain is the API server: two rounds at most, in the order of the hooks; the second for hooks that ask for it and were
// called before somebody else changed the pod. It returns the plan of what comes out.
func chain(t *testing.T, c *cases.Case, row truth.Row, withHoldfast bool) *injectors.Plan {
	t.Helper()
	raw := c.Raw
	holdfast := func() {
		if !withHoldfast {
			return
		}
		target, err := c.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		out := mutators.Choose(injectors.New(target, c.Env, injectors.Rest), c.Config, mutators.Mutating)
		raw = applied(t, raw, out.Patch.JSON())
	}
	holdfast()
	raw = onPod(t, raw, func(p *corev1.Pod) { injectIstio(p, row) })
	raw = onPod(t, raw, injectVault)
	holdfast()
	if row.Reinvoked {
		raw = onPod(t, raw, func(p *corev1.Pod) { injectIstio(p, row) })
	}
	target, err := c.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return injectors.New(target, c.Env, injectors.Fact)
}

func onPod(t *testing.T, raw []byte, change func(*corev1.Pod)) []byte {
	t.Helper()
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		t.Fatal(err)
	}
	change(&pod)
	out, err := json.Marshal(&pod)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// injectIstio takes its own containers out, renders them anew and puts them in their places.
func injectIstio(p *corev1.Pod, row truth.Row) {
	own := func(c corev1.Container) bool { return strings.HasPrefix(c.Name, "istio-") }
	p.Spec.InitContainers = slices.DeleteFunc(p.Spec.InitContainers, own)
	p.Spec.Containers = slices.DeleteFunc(p.Spec.Containers, own)
	p.Annotations["sidecar.istio.io/status"] = "{}"
	hold := strings.Contains(p.Annotations["proxy.istio.io/config"], `"holdApplicationUntilProxyStarts":true`)

	redirect := corev1.Container{Name: "istio-init", Args: []string{
		"istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*",
		"-x", p.Annotations["traffic.sidecar.istio.io/excludeOutboundIPRanges"], "-b", "*", "-d", "15090,15021,15020",
	}}
	if row.CNI {
		redirect.Name = "istio-validation"
		redirect.Args = append(redirect.Args, "--run-validation", "--skip-rule-apply")
	}
	proxy := corev1.Container{Name: "istio-proxy", SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(1337)), RunAsGroup: new(int64(1337))}}
	switch {
	case row.Native:
		proxy.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		proxy.StartupProbe = &corev1.Probe{FailureThreshold: 600}
		p.Spec.InitContainers = slices.Insert(p.Spec.InitContainers, 0, redirect, proxy)
		return
	case hold:
		proxy.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{}}
		p.Spec.Containers = slices.Insert(p.Spec.Containers, 0, proxy)
	default:
		p.Spec.Containers = append(p.Spec.Containers, proxy)
	}
	if row.CNI {
		p.Spec.InitContainers = slices.Insert(p.Spec.InitContainers, 0, redirect)
	} else {
		p.Spec.InitContainers = append(p.Spec.InitContainers, redirect)
	}
}

// injectVault runs once: it stops at its own mark.
func injectVault(p *corev1.Pod) {
	if p.Annotations["vault.hashicorp.com/agent-inject-status"] != "" {
		return
	}
	p.Annotations["vault.hashicorp.com/agent-inject-status"] = "injected"
	ids := &corev1.SecurityContext{RunAsUser: new(int64(100)), RunAsGroup: new(int64(1000))}
	agent := corev1.Container{Name: "vault-agent-init", SecurityContext: ids}
	if p.Annotations["vault.hashicorp.com/agent-init-first"] == "true" {
		p.Spec.InitContainers = slices.Insert(p.Spec.InitContainers, 0, agent)
	} else {
		p.Spec.InitContainers = append(p.Spec.InitContainers, agent)
	}
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "vault-agent", SecurityContext: ids})
}
