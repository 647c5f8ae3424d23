package integration

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/truth"
)

// TestSameUser proves that hold does not change the uid of Vault's containers: with agent-run-as-same-user they take it from
// the first container, which hold would make the proxy.
func TestSameUser(t *testing.T) {
	s := shared
	s.istio(t, mode(truth.Table()[0]))
	s.holdfast(t, "")
	s.namespace(t, "plain", nil)
	s.namespace(t, "enforced", map[string]string{"holdfast.dev/mode": "enforce"})
	uids := func(namespace string) map[string]int64 {
		pod := web(namespace, false)
		pod.Annotations["vault.hashicorp.com/agent-run-as-same-user"] = "true"
		uid := int64(4711)
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: &uid}
		out := s.admitted(t, pod)
		found := map[string]int64{}
		for _, c := range append(out.Spec.InitContainers, out.Spec.Containers...) {
			if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
				found[c.Name] = *c.SecurityContext.RunAsUser
			}
		}
		return found
	}
	if diff := cmp.Diff(uids("plain"), uids("enforced")); diff != "" {
		t.Errorf("uids (-without +with Holdfast):\n%s", diff)
	}
	if got := uids("enforced")["vault-agent-init"]; got != 4711 {
		t.Errorf("vault-agent-init runs as %d, want 4711", got)
	}
}

// TestRestStays proves that Holdfast changes no more than it says: moved and held, a pod has the same containers and the same
// spec around them. Fields that the API server does not know never come this far; the handler's own tests invent some.
func TestRestStays(t *testing.T) {
	s := shared
	s.istio(t, mode(truth.Table()[0]))
	s.holdfast(t, "")
	s.namespace(t, "plain", nil)
	s.namespace(t, "enforced", map[string]string{"holdfast.dev/mode": "enforce"})
	plain, fixed := s.admitted(t, web("plain", false)), s.admitted(t, web("enforced", false))
	if got, want := fixed.Annotations[mutators.AppliedAnnotation], wanted(truth.Table()[0]); got != want {
		t.Errorf("remedies: got %q, want %q", got, want)
	}
	if diff := cmp.Diff(rest(t, plain), rest(t, fixed)); diff != "" {
		t.Errorf("spec (-without +with Holdfast):\n%s", diff)
	}
}

// rest is the spec of a pod without what reorder and hold are for: the order of its containers, and what Istio writes into the
// proxy's when asked to hold.
func rest(t *testing.T, pod *corev1.Pod) map[string]any {
	t.Helper()
	pod = pod.DeepCopy()
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if c.Name != "istio-proxy" {
			continue
		}
		if c.Lifecycle != nil {
			if c.Lifecycle.PostStart = nil; *c.Lifecycle == (corev1.Lifecycle{}) {
				c.Lifecycle = nil
			}
		}
		for k := range c.Env {
			if c.Env[k].Name == "PROXY_CONFIG" {
				c.Env[k].Value = strings.Replace(c.Env[k].Value, `"holdApplicationUntilProxyStarts":true`, "", 1)
			}
		}
	}
	var whole struct {
		Spec map[string]any `json:"spec"`
	}
	if err := json.Unmarshal([]byte(normal(t, pod)), &whole); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"initContainers", "containers", "volumes"} {
		set := map[string]any{}
		for _, item := range whole.Spec[list].([]any) {
			set[item.(map[string]any)["name"].(string)] = item
		}
		whole.Spec[list] = set
	}
	return whole.Spec
}

// TestSystemNamespaces proves that Holdfast is never asked about the namespaces that a cluster needs to run.
func TestSystemNamespaces(t *testing.T) {
	s := shared
	i := s.holdfast(t, "")
	before, err := i.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"kube-system", "kube-public", i.Namespace()} {
		pod := restricted(namespace)
		if _, err := s.client.CoreV1().Namespaces().Patch(t.Context(), namespace, "application/merge-patch+json", []byte(`{"metadata":{"labels":{"holdfast.dev/mode":"enforce"}}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := s.cluster.CreateNamespace(t.Context(), namespace, nil); err != nil { // waits for the ServiceAccount
			t.Fatal(err)
		}
		if _, err := s.dryRun(t.Context(), pod); err != nil {
			t.Errorf("%s: %v", namespace, err)
		}
	}
	after, err := i.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before, after := reviews(before), reviews(after); before != after {
		t.Errorf("reviews before and after: got %s, want %s", after, before)
	}
}

// reviews returns the lines of the metrics page that count reviews.
func reviews(page string) string {
	out := ""
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "holdfast_reviews_total") {
			out += line
		}
	}
	return out
}

// restricted is a pod that Pod Security Admission lets into any namespace.
func restricted(namespace string) *corev1.Pod {
	yes, no := true, false
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "system", Namespace: namespace}, Spec: corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "app", Image: "app", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}}
}
