package integration

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/test/truth"
)

// TestHopeless proves that a Deployment from before Holdfast, which enforce mode would refuse today, can be lived with: it is
// scaled, labelled, restarted and deleted, and only its new pods are refused.
func TestHopeless(t *testing.T) {
	const namespace = "hopeless"
	s := shared
	s.istio(t, mode(truth.Table()[0]))
	s.namespace(t, namespace, nil)
	s.cleared(t, namespace)
	file := strings.ReplaceAll(deployment, "NAMESPACE", namespace)
	s.apply(t, file)
	s.replicaSets(t, namespace, 1)
	s.holdfast(t, noRemedies)
	s.kubectl(t, "label", "namespace", namespace, config.ModeLabel+"="+config.Enforce.String())
	s.refusesNew(t, file)

	for _, c := range []struct {
		name string
		args []string
	}{
		{"scale", []string{"scale", "deployment/web", "--replicas=2"}},
		{"label", []string{"label", "deployment/web", "team=shop"}},
		{"annotate", []string{"annotate", "deployment/web", "example.com/note=kept"}},
		{"add a finalizer", []string{"patch", "deployment/web", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/wait"]}}`}},
		{"remove the finalizer", []string{"patch", "deployment/web", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, warnings, err := s.kubectlRun(t, append([]string{"-n", namespace}, c.args...)...); err != nil || warnings != "" {
				t.Errorf("got %v and %q, want neither error nor warning", err, warnings)
			}
		})
	}
	t.Run("restart", func(t *testing.T) { s.restarted(t, namespace) })
	t.Run("delete", func(t *testing.T) { s.deleted(t, namespace) })
}

// refusesNew waits until a second Deployment like the first is refused: Holdfast has seen the namespace's label.
func (s *suite) refusesNew(t *testing.T, file string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(strings.Replace(file, "name: web,", "name: another,", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.until(t, "a new Deployment to be refused", func(context.Context) bool {
		_, stderr, err := s.kubectlRun(t, "create", "--dry-run=server", "-f", path)
		return err != nil && strings.Contains(stderr, "HF101 Deployment/another")
	})
}

// restarted restarts the Deployment: the client is warned, and the new ReplicaSet gets no pod.
func (s *suite) restarted(t *testing.T, namespace string) {
	old := map[string]bool{}
	for _, set := range s.sets(t, namespace) {
		old[set.Name] = true
	}
	_, warnings, err := s.kubectlRun(t, "-n", namespace, "rollout", "restart", "deployment/web")
	if err != nil || !strings.Contains(warnings, "Warning: ") || !strings.Contains(warnings, "HF101 Deployment/web") {
		t.Errorf("got %v and %q, want no error and a warning with HF101", err, warnings)
	}
	s.until(t, "the new ReplicaSet's pods to be refused", func(ctx context.Context) bool {
		events, err := s.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Kind == "ReplicaSet" && !old[e.InvolvedObject.Name] && e.Reason == "FailedCreate" && strings.Contains(e.Message, "HF101")
		})
	})
	for _, set := range s.sets(t, namespace) {
		if !old[set.Name] && set.Status.Replicas != 0 {
			t.Errorf("%s has %d pods, want none", set.Name, set.Status.Replicas)
		}
	}
}

// deleted deletes the Deployment and waits until nothing is left of it.
func (s *suite) deleted(t *testing.T, namespace string) {
	s.kubectl(t, "-n", namespace, "delete", "deployment", "web", "--wait=false")
	s.until(t, "everything to be gone", func(context.Context) bool {
		return s.kubectl(t, "-n", namespace, "get", "deployments,replicasets,pods", "-o", "name") == ""
	})
}
