package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/holdfast"
)

const (
	rollouts   = 2
	hammers    = 4
	maxHammers = 20000 // creations of one rollout, over all hammers
)

// TestRollout replaces the server while pods are created without a pause. None may be refused, and none admitted as it came:
// both would mean that the API server called a server that was already gone.
func TestRollout(t *testing.T) {
	if err := controlplane.Root(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("two servers behind one Service:", err)
	}
	s := shared
	// No mesh runs: its settings would change nothing about a pod that is stuck by fact.
	if err := s.cluster.CreateNamespace(t.Context(), "istio-system", nil); err != nil {
		t.Fatal(err)
	}
	s.namespace(t, "rollout", map[string]string{config.ModeLabel: "enforce"})
	o := holdfast.Options{Overlay: "opt-in", Binary: s.binary, Args: []string{"--shutdown-delay=2s"}}
	i := s.install(t, o)
	h := hammer{suite: s, pod: stuckByFact("rollout")}
	for range rollouts {
		if err := h.during(t.Context(), func() error { return i.Replace(t.Context(), o) }); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d pods during %d rollouts", h.created.Load(), rollouts)
	if h.created.Load() < 100*rollouts {
		t.Errorf("got %d pods, too few to prove anything", h.created.Load())
	}
	for _, fault := range h.faults[:min(len(h.faults), 5)] {
		t.Error(fault)
	}
	if n := len(h.faults); n > 0 {
		t.Errorf("%d of %d pods were refused or admitted as they came", n, h.created.Load())
	}
}

// hammer creates one pod over and over, as a dry run.
type hammer struct {
	*suite
	pod     *corev1.Pod
	created atomic.Int64

	mu     sync.Mutex
	faults []string
}

// during hammers until what it is given is done.
func (h *hammer) during(ctx context.Context, do func() error) error {
	done := make(chan struct{})
	var all sync.WaitGroup
	for range hammers {
		all.Go(func() {
			for range maxHammers / hammers {
				select {
				case <-done:
					return
				default:
					h.once(ctx)
				}
			}
		})
	}
	err := do()
	close(done)
	all.Wait()
	return err
}

func (h *hammer) once(ctx context.Context) {
	h.created.Add(1)
	pod, err := h.dryRun(ctx, h.pod.DeepCopy()) // the client writes into what it sends
	fault := ""
	switch {
	case err != nil:
		fault = err.Error()
	case !strings.Contains(pod.Annotations[mutators.AppliedAnnotation], config.Reorder):
		fault = "admitted as it came: " + order(pod)
	default:
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, fault)
}

// stuckByFact is a pod as Istio and Vault have left it, with the dialer behind the redirect. Neither touches it again.
func stuckByFact(namespace string) *corev1.Pod {
	root := int64(0)
	proxy := int64(1337)
	status, _ := json.Marshal(map[string]any{"initContainers": []string{"istio-init"}, "containers": []string{"istio-proxy"}, "revision": "default"})
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", Namespace: namespace, Annotations: map[string]string{
			"vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-inject-status": "injected", "sidecar.istio.io/status": string(status),
		}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{
				{
					Name: "istio-init", Image: "istio/proxyv2",
					Args: slices.Concat([]string{"istio-iptables", "-p", "15001", "-z", "15006", "-u", fmt.Sprint(proxy)}, strings.Fields("-m REDIRECT -i * -b * -d 15090,15021,15020")),
					SecurityContext: &corev1.SecurityContext{
						RunAsUser: &root, Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN", "NET_RAW"}},
					},
				},
				{Name: "vault-agent-init", Image: "hashicorp/vault", Env: []corev1.EnvVar{{Name: "VAULT_ADDR", Value: "http://vault.vault.svc:8200"}}},
			},
			Containers: []corev1.Container{
				{Name: "app", Image: "app"},
				{Name: "istio-proxy", Image: "istio/proxyv2", Args: []string{"proxy", "sidecar"}, SecurityContext: &corev1.SecurityContext{RunAsUser: &proxy, RunAsGroup: &proxy}},
			},
		},
	}
}
