package integration

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// TestUnknownField proves that what Holdfast does not know survives it. The API server itself drops fields that nobody knows,
// so the newest known to it stand in for them; the handler's own tests use invented ones.
func TestUnknownField(t *testing.T) {
	s := shared
	s.istio(t, mode(truth.Table()[0]))
	s.holdfast(t, "")
	s.namespace(t, "plain", nil)
	s.namespace(t, "enforced", map[string]string{"holdfast.dev/mode": "enforce"})
	spec := func(namespace string) map[string]any {
		pod := s.admitted(t, web(namespace, false))
		data, err := json.Marshal(pod.Spec)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(data, &out); err != nil {
			t.Fatal(err)
		}
		delete(out, "initContainers") // moved
		delete(out, "containers")     // held
		delete(out, "volumes")        // random names
		return out
	}
	if diff := cmp.Diff(spec("plain"), spec("enforced")); diff != "" {
		t.Errorf("spec (-without +with Holdfast):\n%s", diff)
	}
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
