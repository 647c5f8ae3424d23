package kubelet_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/test/kubelet"
)

const webYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Secret
metadata: {name: page, namespace: shop}
stringData: {page: first}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: server
        terminationMessagePolicy: FallbackToLogsOnError
        args: [serve, /pages/page, $(POD_NAME), $(ADDRESS), $(LIMIT), $$(KEPT), $(UNKNOWN)]
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: ADDRESS, value: "http://$(IP):8080"}
        - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
        resources: {limits: {memory: 64Mi}}
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {periodSeconds: 1, failureThreshold: 1, httpGet: {path: /file, port: http}}
        livenessProbe: {periodSeconds: 1, failureThreshold: 2, httpGet: {path: /alive, port: 8080}}
        volumeMounts: [{name: pages, mountPath: /pages}]
      volumes: [{name: pages, secret: {secretName: page}}]
`

// TestPods takes one Deployment through what kubectl does to it.
func TestPods(t *testing.T) {
	s := shared
	if err := s.cluster.CreateNamespace(t.Context(), "shop", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.Apply(t.Context(), []byte(webYAML)); err != nil {
		t.Fatal(err)
	}
	t.Run("a pod becomes ready behind its Service", s.becomesReady)
	t.Run("logs", s.logs)
	t.Run("exec", s.exec)
	t.Run("a Secret changes", s.secretChanges)
	t.Run("readiness is lost and found", s.readiness)
	t.Run("a crash", s.crash)
	t.Run("liveness is lost", s.liveness)
	t.Run("scale to two", s.two)
	t.Run("a pod is deleted by force", s.force)
	t.Run("rollout restart", s.restart)
	t.Run("scale to none", s.none)
	t.Run("what cannot run stays Pending", s.pending)
}

// web waits until n pods stand behind the Service, and are all that are there.
func (s *suite) web(t *testing.T, n int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	until(t, fmt.Sprintf("%d pods behind the Service", n), func() (err error) {
		if pods, err = s.pods(t.Context(), "shop", "web"); err != nil {
			return err
		}
		var want []string
		for i := range pods {
			want = append(want, pods[i].Status.PodIP)
		}
		slices.Sort(want)
		got, err := s.ready(t.Context(), "shop", "web")
		if err == nil && (len(pods) != n || !slices.Equal(got, want)) {
			err = fmt.Errorf("%d pods with addresses %v, endpoints %v", len(pods), want, got)
		}
		return err
	})
	return pods
}

// page is what a pod serves.
func page(ctx context.Context, pod *corev1.Pod, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(pod.Status.PodIP, "8080")+path, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func (s *suite) becomesReady(t *testing.T) {
	pod := s.web(t, 1)[0]
	if got, err := page(t.Context(), &pod, "/file"); got != "first" {
		t.Errorf("got %q (%v), want the Secret's page", got, err)
	}
	node, err := s.client.CoreV1().Nodes().Get(t.Context(), pod.Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := pod.Status.HostIP, node.Status.Addresses[0].Address; got != want {
		t.Errorf("got host address %s, want the node's %s", got, want)
	}
	s.run(t, "-n", "shop", "rollout", "status", "deploy/web", "--timeout=5s")
	if got := s.run(t, "-n", "shop", "get", "pods", "--no-headers"); !strings.Contains(got, "1/1") || !strings.Contains(got, "Running") {
		t.Errorf("got %q, want it running, one of one ready", got)
	}
}

func (s *suite) logs(t *testing.T) {
	pod := s.web(t, 1)[0]
	want := fmt.Sprintf("serving: /pages/page %s http://$(IP):8080 64 $(KEPT) $(UNKNOWN), uid 1234\n", pod.Name)
	if got := s.run(t, "-n", "shop", "logs", "deploy/web", "--tail=50"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := s.run(t, "-n", "shop", "logs", "deploy/web", "--tail=0"); got != "" {
		t.Errorf("got %q, want no lines", got)
	}
	if got, code := s.try(t.Context(), "", "-n", "shop", "logs", "deploy/web", "--previous"); code == 0 {
		t.Errorf("got %q, want an error: it has run once", got)
	}
}

func (s *suite) exec(t *testing.T) {
	pod := s.web(t, 1)[0]
	for name, c := range map[string]struct {
		stdin string
		line  []string
		code  int
		says  string
	}{
		"its API server": {line: []string{"deploy/web", "--", "/bin/server", "version"}, says: "200 OK"},
		"itself":         {line: []string{pod.Name, "--", "/bin/server", "fetch", "http://" + pod.Status.PodIP + ":8080/file"}, says: "200 OK\nfirst"},
		"input":          {stdin: "handed in", line: []string{"-i", pod.Name, "--", "/bin/server", "cat"}, says: "handed in"},
		"exit code":      {line: []string{pod.Name, "--", "/bin/server", "exit", "7"}, code: 7, says: "exit 7"},
		"no such file":   {line: []string{pod.Name, "--", "/bin/sh"}, code: 1, says: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := s.try(t.Context(), c.stdin, append([]string{"-n", "shop", "exec"}, c.line...)...)
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("got exit %d and %q, want exit %d and %q", code, out, c.code, c.says)
			}
		})
	}
}

// change gives the Secret another page, and waits until the pod serves it.
func (s *suite) change(t *testing.T, pod *corev1.Pod, to string) {
	t.Helper()
	s.run(t, "-n", "shop", "patch", "secret", "page", "-p", `{"stringData":{"page":"`+to+`"}}`)
	until(t, "the Secret in the pod", func() error {
		got, err := page(t.Context(), pod, "/file")
		if err == nil && got != to {
			err = fmt.Errorf("got %q, want %q", got, to)
		}
		return err
	})
}

func (s *suite) secretChanges(t *testing.T) {
	pod := s.web(t, 1)[0]
	began := time.Now()
	s.change(t, &pod, "second")
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %s, want about one second", took)
	}
}

func (s *suite) readiness(t *testing.T) {
	pod := s.web(t, 1)[0]
	s.change(t, &pod, "unready")
	until(t, "no endpoint", func() error {
		got, err := s.ready(t.Context(), "shop", "web")
		if err == nil && len(got) > 0 {
			err = fmt.Errorf("got %v", got)
		}
		return err
	})
	s.change(t, &pod, "third")
	if got := s.web(t, 1)[0].Status.ContainerStatuses[0].RestartCount; got != 0 {
		t.Errorf("got %d restarts, want none: readiness ends nothing", got)
	}
}

// restarted waits until the container of the one pod has been restarted n times, or more often.
func (s *suite) restarted(t *testing.T, pod *corev1.Pod, n int32) {
	t.Helper()
	until(t, "a restart", func() error {
		pods, err := s.pods(t.Context(), "shop", "web")
		if err == nil && (len(pods) != 1 || pods[0].UID != pod.UID || pods[0].Status.ContainerStatuses[0].RestartCount < n) {
			err = fmt.Errorf("got %v", pods[0].Status.ContainerStatuses)
		}
		return err
	})
}

func (s *suite) crash(t *testing.T) {
	pod := s.web(t, 1)[0]
	_, _ = page(t.Context(), &pod, "/crash")
	s.restarted(t, &pod, 1)
	status := s.web(t, 1)[0].Status.ContainerStatuses[0]
	if last := status.LastTerminationState.Terminated; last == nil || last.ExitCode != 3 || last.Reason != "Error" || !strings.HasSuffix(last.Message, "crashing\n") {
		t.Errorf("got %v as its last end, want exit code 3 and what it said last", last)
	}
	if got := s.run(t, "-n", "shop", "logs", pod.Name, "--previous", "--tail=1"); got != "crashing\n" {
		t.Errorf("got %q, want the last line of the run before", got)
	}
	if got := s.run(t, "-n", "shop", "logs", pod.Name); strings.Contains(got, "crashing") {
		t.Errorf("got %q, want the present run alone", got)
	}
}

func (s *suite) liveness(t *testing.T) {
	pod := s.web(t, 1)[0]
	s.change(t, &pod, "dead")
	s.restarted(t, &pod, 2)
	s.run(t, "-n", "shop", "patch", "secret", "page", "-p", `{"stringData":{"page":"third"}}`)
	status := s.web(t, 1)[0].Status.ContainerStatuses[0]
	if last := status.LastTerminationState.Terminated; last == nil || last.ExitCode != 0 || last.Message != "" {
		t.Errorf("got %v as its last end, want exit code 0: it is told to end, not killed", last)
	}
}

func (s *suite) force(t *testing.T) {
	pods := s.web(t, 2)
	s.run(t, "-n", "shop", "delete", "pod", pods[0].Name, "--force", "--grace-period=0")
	for _, pod := range s.web(t, 2) {
		if pod.UID == pods[0].UID {
			t.Errorf("pod %s is there, want it gone", pod.Name)
		}
	}
	until(t, "the end of its machine", func() error { return noMachine(pods[:1]) })
}

// noMachine says what is left of pods on this machine.
func noMachine(pods []corev1.Pod) error {
	entries, err := os.ReadDir("/run/netns")
	for _, entry := range entries {
		for i := range pods {
			if strings.HasSuffix(entry.Name(), pods[i].Name) {
				return fmt.Errorf("network namespace %s is there", entry.Name())
			}
		}
	}
	return err
}

func (s *suite) two(t *testing.T) {
	s.run(t, "-n", "shop", "scale", "deploy/web", "--replicas=2")
	pods := s.web(t, 2)
	out := s.run(t, "-n", "shop", "exec", pods[0].Name, "--", "/bin/server", "fetch", "http://"+pods[1].Status.PodIP+":8080/file")
	if !strings.Contains(out, "200 OK") {
		t.Errorf("one pod fetches from the other: got %q, want 200 OK", out)
	}
}

func (s *suite) restart(t *testing.T) {
	before := s.web(t, 2)
	s.run(t, "-n", "shop", "rollout", "restart", "deploy/web")
	s.run(t, "-n", "shop", "rollout", "status", "deploy/web", "--timeout=30s")
	for _, pod := range s.web(t, 2) {
		if slices.ContainsFunc(before, func(old corev1.Pod) bool { return old.UID == pod.UID }) {
			t.Errorf("pod %s is there, want it replaced", pod.Name)
		}
	}
}

func (s *suite) none(t *testing.T) {
	pods := s.web(t, 2)
	s.run(t, "-n", "shop", "scale", "deploy/web", "--replicas=0")
	s.web(t, 0)
	if err := noMachine(pods); err != nil {
		t.Error(err)
	}
	for i := range pods {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		// Somebody else may answer: the address is nobody's now, and the machine may lead it anywhere.
		if got, err := page(ctx, &pods[i], "/file"); err == nil && got == "third" {
			t.Errorf("%s still serves", pods[i].Name)
		}
		cancel()
	}
}

func (s *suite) pending(t *testing.T) {
	for name, spec := range map[string]corev1.PodSpec{
		"another-image": {Containers: []corev1.Container{{Name: "a", Image: "unknown"}}},
		"a-sidecar":     {Containers: []corev1.Container{{Name: "a", Image: "server"}, {Name: "b", Image: "server"}}},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
		if _, err := s.client.CoreV1().Pods("shop").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		defer s.run(t, "-n", "shop", "delete", "pod", name, "--now")
	}
	// One that can run comes after them.
	s.run(t, "-n", "shop", "scale", "deploy/web", "--replicas=1")
	s.web(t, 1)
	s.run(t, "-n", "shop", "scale", "deploy/web", "--replicas=0")
	for _, name := range []string{"another-image", "a-sidecar"} {
		pod, err := s.client.CoreV1().Pods("shop").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if pod.Spec.NodeName != "" || pod.Status.Phase != corev1.PodPending {
			t.Errorf("%s: got %s on node %q, want it Pending", name, pod.Status.Phase, pod.Spec.NodeName)
		}
	}
}

// TestStop: nothing is left of a node, on this machine and in the cluster.
func TestStop(t *testing.T) {
	s := shared
	if err := s.cluster.CreateNamespace(t.Context(), "brief", nil); err != nil {
		t.Fatal(err)
	}
	node, err := kubelet.Start(t.Context(), kubelet.Options{Cluster: s.cluster, Name: "brief", Version: "v1.30.1", Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Stop)
	program := s.program
	program.Image = "brief"
	node.Provide(program)
	s.run(t, "-n", "brief", "create", "deployment", "brief", "--image=brief", "--", "/bin/server", "serve", "/etc/hosts")
	s.run(t, "-n", "brief", "rollout", "status", "deploy/brief", "--timeout=20s")
	pods, err := s.pods(t.Context(), "brief", "brief")
	if err != nil || len(pods) != 1 || pods[0].Spec.NodeName != "brief" {
		t.Fatalf("got %v and %v, want a pod on the node", pods, err)
	}
	if got := s.run(t, "get", "node", "brief", "-o", "jsonpath={.status.nodeInfo.kubeletVersion}"); got != "v1.30.1" {
		t.Errorf("got version %q, want v1.30.1", got)
	}
	node.Stop()
	if err := noMachine(pods); err != nil {
		t.Error(err)
	}
	for _, what := range []string{"node/brief", "pod/" + pods[0].Name} {
		if out, code := s.try(t.Context(), "", "-n", "brief", "get", what); code == 0 {
			t.Errorf("got %q, want it gone", out)
		}
	}
	s.run(t, "delete", "namespace", "brief", "--wait=false")
}
