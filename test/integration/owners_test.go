package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"holdfast.dev/holdfast/test/holdfast"
	"holdfast.dev/holdfast/test/truth"
)

const template = `
      metadata:
        labels: {app: web}
        annotations: {vault.hashicorp.com/agent-inject: "true", vault.hashicorp.com/role: web}
      spec:
        initContainers: [{name: migrate, image: "migrate:1"}]
        containers: [{name: app, image: "app:1"}]
`

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:` + template

const cronJob = `
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: NAMESPACE}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        metadata:
          annotations: {vault.hashicorp.com/agent-inject: "true", vault.hashicorp.com/role: web}
        spec:
          restartPolicy: Never
          containers: [{name: app, image: "app:1"}]
`

// TestOwners proves that controllers and Holdfast do not fight: whatever it does to a template, no controller makes the same
// object over and over, and nothing that ends or mends a workload is held up.
func TestOwners(t *testing.T) {
	s := shared
	s.istio(t, mode(truth.Table()[0]))
	s.owned(t, "before")
	s.apply(t, strings.ReplaceAll(deployment, "NAMESPACE", "before"))
	s.replicaSets(t, "before", 1)

	o := holdfast.Options{Overlay: "opt-in"}
	i := s.install(t, o)
	o.Binary = s.binary

	t.Run("a Deployment from before", func(t *testing.T) {
		s.kubectl(t, "-n", "before", "delete", "replicaset", "--all")
		s.replicaSets(t, "before", 1)
		s.steady(t, "before")
	})
	t.Run("a CronJob's Jobs", func(t *testing.T) {
		s.owned(t, "jobs")
		s.apply(t, strings.ReplaceAll(cronJob, "NAMESPACE", "jobs"))
		s.kubectl(t, "-n", "jobs", "create", "job", "now", "--from=cronjob/nightly")
		job := s.job(t, "jobs", "now")
		if pods := s.kubectl(t, "-n", "jobs", "get", "pods", "-o", "name"); strings.Count(pods, "pod/") != 1 {
			t.Errorf("the Job has pods %q, want one", pods)
		}
		s.kubectl(t, "-n", "jobs", "label", "job", "now", "team=shop")
		if after := s.job(t, "jobs", "now"); after.UID != job.UID || after.Generation != job.Generation {
			t.Errorf("a label on the Job made generation %d of %d", after.Generation, job.Generation)
		}
	})
	for _, how := range [][]string{nil, {"--server-side"}} {
		t.Run("kubectl apply "+strings.Join(how, ""), func(t *testing.T) { s.applied(t, i, o, how) })
	}
	t.Run("what ends or mends a workload", s.ended)
}

// applied applies one file with Holdfast there, gone, and there again.
func (s *suite) applied(t *testing.T, i *holdfast.Installation, o holdfast.Options, how []string) {
	namespace := "apply" + strings.Trim(strings.Join(how, ""), "-")
	s.owned(t, namespace)
	file := strings.ReplaceAll(deployment, "NAMESPACE", namespace)
	s.apply(t, file, how...)
	s.replicaSets(t, namespace, 1)
	if d := s.deployment(t, namespace); !strings.Contains(d.Spec.Template.Annotations["proxy.istio.io/config"], "holdApplicationUntilProxyStarts") {
		t.Errorf("the template has annotations %v, want hold among them", d.Spec.Template.Annotations)
	}
	i.Kill()
	s.apply(t, file, how...)
	if err := i.Resume(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.apply(t, file, how...)
	s.steady(t, namespace)
	if d := s.deployment(t, namespace); d.Generation != 1 {
		t.Errorf("generation %d, want 1: the same file was a change", d.Generation)
	}
}

func (s *suite) ended(t *testing.T) {
	const namespace = "ended"
	s.owned(t, namespace)
	file := strings.ReplaceAll(deployment, "NAMESPACE", namespace)
	s.apply(t, file)
	s.replicaSets(t, namespace, 1)
	s.kubectl(t, "-n", namespace, "scale", "deployment/web", "--replicas=2")
	s.apply(t, strings.ReplaceAll(file, "app:1", "app:2"))
	s.replicaSets(t, namespace, 2)
	s.kubectl(t, "-n", namespace, "rollout", "undo", "deployment/web")
	s.kubectl(t, "-n", namespace, "patch", "deployment", "web", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/wait"]}}`)
	s.kubectl(t, "-n", namespace, "delete", "deployment", "web", "--wait=false")
	s.kubectl(t, "-n", namespace, "patch", "deployment", "web", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	s.until(t, "the Deployment to be gone", func(ctx context.Context) bool {
		_, err := s.client.AppsV1().Deployments(namespace).Get(ctx, "web", metav1.GetOptions{})
		return err != nil
	})
	s.until(t, "its ReplicaSets to be gone", func(context.Context) bool { return len(s.sets(t, namespace)) == 0 })
}

// owned creates a namespace in the mesh in which Holdfast enforces.
func (s *suite) owned(t *testing.T, name string) {
	t.Helper()
	s.namespace(t, name, map[string]string{"holdfast.dev/mode": "enforce"})
	s.cleared(t, name)
}

// cleared deletes a namespace's Deployments when the test is over.
func (s *suite) cleared(t *testing.T, namespace string) {
	t.Helper()
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_ = s.client.AppsV1().Deployments(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	})
}

// kubectl runs the real one, and fails the test where it fails.
func (s *suite) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, err := s.kubectlRun(t, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	if stderr != "" {
		t.Logf("kubectl %s: %s", strings.Join(args, " "), stderr)
	}
	return stdout
}

// kubectlRun runs the real one and returns what it writes: warnings of the API server are in stderr.
func (s *suite) kubectlRun(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.binaries.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.cluster.Kubeconfig())
	var out, diagnostics bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	err = cmd.Run()
	return out.String(), diagnostics.String(), err
}

func (s *suite) apply(t *testing.T, file string, how ...string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s.kubectl(t, append([]string{"apply", "-f", path}, how...)...)
}

func (s *suite) deployment(t *testing.T, namespace string) *appsv1.Deployment {
	t.Helper()
	d, err := s.client.AppsV1().Deployments(namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (s *suite) job(t *testing.T, namespace, name string) *batchv1.Job {
	t.Helper()
	var job *batchv1.Job
	s.until(t, "the Job to have its pod", func(ctx context.Context) bool {
		var err error
		job, err = s.client.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && job.Status.Active == 1
	})
	return job
}

func (s *suite) sets(t *testing.T, namespace string) []appsv1.ReplicaSet {
	t.Helper()
	list, err := s.client.AppsV1().ReplicaSets(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// replicaSets waits until the Deployment has that many, and the newest its pods.
func (s *suite) replicaSets(t *testing.T, namespace string, n int) {
	t.Helper()
	s.until(t, "the Deployment's ReplicaSets", func(ctx context.Context) bool {
		d, err := s.client.AppsV1().Deployments(namespace).Get(ctx, "web", metav1.GetOptions{})
		return err == nil && d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas && len(s.sets(t, namespace)) == n
	})
}

// steady proves that a Deployment has one ReplicaSet and stays with it: a controller that does not recognise its own makes
// several a second.
func (s *suite) steady(t *testing.T, namespace string) {
	t.Helper()
	end := time.Now().Add(2 * time.Second)
	for time.Now().Before(end) {
		if sets := s.sets(t, namespace); len(sets) != 1 {
			t.Fatalf("%d ReplicaSets, want one", len(sets))
		}
		if d := s.deployment(t, namespace); d.Status.CollisionCount != nil {
			t.Fatalf("collisionCount %d: the controller did not recognise its ReplicaSet", *d.Status.CollisionCount)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *suite) until(t *testing.T, what string, ok func(context.Context) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) { return ok(ctx), nil })
	if err != nil {
		t.Fatalf("wait for %s: %v", what, err)
	}
}
