package injectors_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/test/truth"
)

// TestPredictTruthTable predicts each row of the measured table from the pod as its user wrote it.
func TestPredictTruthTable(t *testing.T) {
	for _, row := range truth.Table() {
		t.Run(row.String(), func(t *testing.T) {
			pod := webPod(row.InitFirst)
			env := env()
			namespace := shop(row, env)
			p := injectors.New(injectors.PodTarget(pod, namespace), env, injectors.Rest)
			if got := order(p); got != row.Order {
				t.Errorf("init containers: got %s, want %s", got, row.Order)
			}
			if got := verdicts(p); got != row.Verdicts() {
				t.Errorf("migrate, vault-agent-init, app: got %s, want %s", got, row.Verdicts())
			}
			if !p.Coming || !p.Recalled || !p.Certain() {
				t.Errorf("coming %v, recalled %v, doubts %v: want a certain plan of an unfinished pod", p.Coming, p.Recalled, p.Doubts)
			}
			template := injectors.New(injectors.PodTarget(pod, namespace), env, injectors.All)
			if got := order(template); got != row.Order {
				t.Errorf("init containers of the template: got %s, want %s", got, row.Order)
			}
		})
	}
}

// TestObserveRecorded reads the pods that real injectors made.
func TestObserveRecorded(t *testing.T) {
	for name, want := range map[string]string{
		"init-classic":                  "migrate, istio-init, vault-agent-init DXX",
		"init-classic-agent-init-first": "vault-agent-init, migrate, istio-init DDX",
		"cni-classic":                   "istio-validation, migrate, vault-agent-init XXX",
		"init-native":                   "istio-init, istio-proxy*, migrate, vault-agent-init PPP",
		"cni-native-agent-init-first":   "vault-agent-init, istio-validation, istio-proxy*, migrate PXP",
	} {
		t.Run(name, func(t *testing.T) {
			p := injectors.New(injectors.PodTarget(recorded(t, name), &injectors.Namespace{Name: "shop"}), env(), injectors.Fact)
			if got := order(p) + " " + verdicts(p); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if diff := cmp.Diff("vault.vault.svc:8200", p.Inits[step(p, "vault-agent-init")].To[0].String()); diff != "" {
				t.Errorf("destination (-want +got):\n%s", diff)
			}
		})
	}
}

func recorded(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "test", "vaultinjector", "testdata", "recorded", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(data, &pod); err != nil {
		t.Fatal(err)
	}
	return &pod
}

func step(p *injectors.Plan, name string) int {
	for i := range p.Inits {
		if p.Inits[i].Name == name {
			return i
		}
	}
	return -1
}

// order prints the init containers as the table does: native sidecars carry a star.
func order(p *injectors.Plan) string {
	var names []string
	for i := range p.Inits {
		name := p.Inits[i].Name
		if p.Inits[i].Phase == injectors.Native {
			name += "*"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func verdicts(p *injectors.Plan) string {
	to := injectors.Endpoint{Host: "vault.vault.svc", Port: 8200, Addrs: []netip.Addr{netip.MustParseAddr("10.96.7.7")}}
	out := ""
	for _, name := range []string{"migrate", "vault-agent-init"} {
		out += letter(p.Network(&p.Inits[step(p, name)], to))
	}
	for i := range p.Mains {
		if p.Mains[i].Name == "app" {
			out += letter(p.Network(&p.Mains[i], to))
		}
	}
	return out
}

func letter(s injectors.State) string {
	return map[injectors.State]string{injectors.Open: "D", injectors.Cut: "X", injectors.Meshed: "P", injectors.Unclear: "?"}[s]
}

func env() *injectors.Env {
	return &injectors.Env{
		Catalogue: injectors.NewCatalogue(injectors.Builtin()...),
		Services: func(namespace, name string) (injectors.Service, bool) {
			if namespace == "vault" && name == "vault" {
				return injectors.Service{ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.7.7")}, Ports: []injectors.ServicePort{{Port: 8200}}}, true
			}
			return injectors.Service{}, false
		},
	}
}

func webPod(initFirst bool) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Annotations: map[string]string{
			"vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/role": "web",
		}},
		Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "migrate"}}, Containers: []corev1.Container{{Name: "app"}}},
	}
	if initFirst {
		pod.Annotations["vault.hashicorp.com/agent-init-first"] = "true"
	}
	return pod
}

func shop(row truth.Row, env *injectors.Env) *injectors.Namespace {
	configurations := []*admissionregistrationv1.MutatingWebhookConfiguration{
		configuration("0-holdfast", "pods.mutate.holdfast.dev", admissionregistrationv1.IfNeededReinvocationPolicy),
		configuration("istio-sidecar-injector", "namespace.sidecar-injector.istio.io", policy(row.Reinvoked)),
		configuration("vault-agent-injector-cfg", "vault.hashicorp.com", admissionregistrationv1.NeverReinvocationPolicy),
	}
	hooks := injectors.CallOrder(configurations)
	hooks[0].Self = true
	env.Catalogue.Identify(hooks, sources(row), nil)
	return &injectors.Namespace{Name: "shop", Labels: map[string]string{"istio-injection": "enabled"}, Hooks: injectors.In(hooks, map[string]string{"istio-injection": "enabled"})}
}

func policy(again bool) admissionregistrationv1.ReinvocationPolicyType {
	if again {
		return admissionregistrationv1.IfNeededReinvocationPolicy
	}
	return admissionregistrationv1.NeverReinvocationPolicy
}

func configuration(name, webhook string, policy admissionregistrationv1.ReinvocationPolicyType) *admissionregistrationv1.MutatingWebhookConfiguration {
	c := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.Webhooks = []admissionregistrationv1.MutatingWebhook{{
		Name: webhook, ReinvocationPolicy: &policy,
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}},
	}}
	return c
}

func sources(row truth.Row) *injectors.Sources {
	values := `{"global":{"proxy":{"includeIPRanges":"*","startupProbe":{"enabled":true}}},"pilot":{"cni":{"enabled":false}}}`
	if row.CNI {
		values = strings.Replace(values, `"enabled":false}}`, `"enabled":true}}`, 1)
	}
	native := "false"
	if row.Native {
		native = "true"
	}
	return &injectors.Sources{
		Namespaces: []string{"istio-system"},
		ConfigMaps: map[string]map[string]string{
			"istio-system/istio-sidecar-injector": {"values": values, "config": "policy: enabled"},
			"istio-system/istio":                  {"mesh": "defaultConfig: {}"},
		},
		Deployments: []injectors.Deployment{
			{Namespace: "istio-system", Name: "istiod", Labels: map[string]string{"app": "istiod", "istio.io/rev": "default"}, Env: map[string]string{"ENABLE_NATIVE_SIDECARS": native}},
			{Namespace: "vault", Name: "vault-agent-injector", Labels: map[string]string{"app.kubernetes.io/name": "vault-agent-injector"}, Env: map[string]string{"AGENT_INJECT_VAULT_ADDR": "http://vault.vault.svc:8200"}},
		},
	}
}

// named is the catalogue's injector of that name.
func named(e *injectors.Env, name string) *injectors.Injector {
	for _, i := range e.Catalogue.All {
		if i.Name == name {
			return i
		}
	}
	panic("no injector " + name)
}
