package diagnose

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"holdfast.dev/holdfast/diagnose"
)

// TestServerDown: the API server still calls, and nobody is there.
func TestServerDown(t *testing.T) {
	s := shared
	s.healthy(t)
	s.installation.Kill()
	t.Cleanup(func() {
		check(t, s.installation.Resume(context.WithoutCancel(t.Context()), s.options()))
	})
	r := settle(t, "holdfast diagnose", func(t *testing.T) *diagnose.Report { t.Helper(); return s.diagnose(t) }, "HF201 failed")
	t.Log(text(r))
	if got := line(r, "HF215"); got.State != diagnose.Skipped || got.Cause != "HF201" {
		t.Errorf("HF215: got %s because of %q, want skipped because of HF201", got.State, got.Cause)
	}
}

// TestAPIServerDown: nothing else can be told, and that is said at once, or as soon as patience allows.
func TestAPIServerDown(t *testing.T) {
	s := shared
	down, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	check(t, err)
	check(t, down.Close())
	hung, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback: it accepts, and says nothing
	check(t, err)
	t.Cleanup(func() { _ = hung.Close() })
	for _, c := range []struct {
		name, address, says string
	}{
		{"down", down.Addr().String(), "connection refused"},
		{"hung", hung.Addr().String(), "no answer within 4 s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config, err := clientcmd.LoadFromFile(s.cluster.Kubeconfig())
			check(t, err)
			for _, cluster := range config.Clusters {
				cluster.Server = "https://" + c.address
			}
			path := filepath.Join(t.TempDir(), "kubeconfig")
			check(t, clientcmd.WriteToFile(*config, path))
			began := time.Now()
			r := s.diagnose(t, "--kubeconfig", path, "--namespace", ns, "--service-name", "holdfast")
			if got := causes(r); len(got) != 1 || got[0] != "HF204 failed" {
				t.Errorf("got %v, want HF204 failed alone\n%s", got, text(r))
			}
			if got := line(r, "HF204").Message; !strings.Contains(got, c.says) {
				t.Errorf("got %q, want %q in it", got, c.says)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %s, want at most 15 s", took)
			}
		})
	}
}

// TestStranger: somebody with no rights at all gets the answers of the server, and where there is none is told which right is
// missing; nothing is blamed.
func TestStranger(t *testing.T) {
	s := shared
	s.healthy(t)
	config, err := s.cluster.ConfigFor("stranger")
	check(t, err)
	path, err := s.cluster.WriteKubeconfig("stranger", config, nil)
	check(t, err)
	r := s.diagnose(t, "--kubeconfig", path)
	if got, want := line(r, "HF215").Message, "answered both calls (this proves one API server and one replica) (says the server)"; !strings.Contains(got, want) {
		t.Errorf("HF215: got %q, want %q in it", got, want)
	}
	if got := causes(r); len(got) > 0 && got[0] < "HF220" {
		t.Errorf("got %v about ourselves, want the server's answers", got)
	}
	r = s.diagnose(t, "--kubeconfig", path, "--server=", "--namespace", ns)
	for _, c := range causes(r) {
		if !strings.HasSuffix(c, " unknown") {
			t.Errorf("got %s from somebody who may ask nothing", c)
		}
	}
	if got, want := line(r, "HF206").Message, `a right is missing: list mutatingwebhookconfigurations`; !strings.Contains(got, want) {
		t.Errorf("HF206: got %q, want %q in it", got, want)
	}
	t.Log(text(r))
}

// TestPods: the server's report is read through the API server, from a pod, and the pods are looked at.
func TestPods(t *testing.T) {
	s := shared
	s.healthy(t)
	pod := s.pod(t)
	out, _, err := s.command(t.Context(), "--server=", "-o", "text")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"√ HF201 the server listens on its port: port 9443 accepts connections", "√ HF213 the pods of Holdfast are in no mesh: 1 pod"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("got no %q in\n%s", want, out)
		}
	}
	check(t, s.client.CoreV1().Pods(ns).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))

	pod = s.pod(t, corev1.Container{Name: "istio-proxy", Image: "proxyv2"})
	r := s.diagnose(t)
	if got := line(r, "HF213"); got.State != diagnose.Warning || !strings.Contains(got.Message, "Istio's proxy stands in front of port 9443 of pod "+pod.Name) {
		t.Errorf("HF213: got %s %q, want a warning that Istio's proxy stands in front", got.State, got.Message)
	}
}

// pod makes one of the Deployment's pods, which a kubelet would run: the server's machine stands in for it. more are containers
// that a mesh has added.
func (s *suite) pod(t *testing.T, more ...corev1.Container) *corev1.Pod {
	t.Helper()
	d, err := s.client.AppsV1().Deployments(ns).Get(t.Context(), "holdfast", metav1.GetOptions{})
	check(t, err)
	pod := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: *d.Spec.Template.Spec.DeepCopy()}
	pod.Name, pod.Spec.NodeName = "holdfast-0", "node"
	pod.Labels["app.kubernetes.io/instance"] = "test"
	if len(more) > 0 {
		pod.Annotations["sidecar.istio.io/status"] = `{"initContainers":["istio-init"],"containers":["istio-proxy"]}`
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{
			Name: "istio-init", Image: "proxyv2", Args: []string{"istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"},
		})
		pod.Spec.Containers = append(pod.Spec.Containers, more...)
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			yes, no := true, false
			list[i].SecurityContext = &corev1.SecurityContext{
				RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}
		}
	}
	pods := s.client.CoreV1().Pods(ns)
	pod, err = pods.Create(t.Context(), pod, metav1.CreateOptions{})
	check(t, err)
	t.Cleanup(func() {
		_ = pods.Delete(context.WithoutCancel(t.Context()), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	})
	pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, s.installation.Host().Addr().String()
	pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod, err = pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	check(t, err)
	return pod
}

// TestSays: what turns is in the log, in the gauge, and in an Event on the Deployment; the command waits for better times.
func TestSays(t *testing.T) {
	s := shared
	s.healthy(t)
	settle(t, "/diagnosis", s.asked)
	s.logged(t, `"msg":"probe answered","code":"HF215","name":"reached","state":"passed"`)
	check(t, s.client.CoreV1().Services(ns).Delete(t.Context(), "holdfast", metav1.DeleteOptions{}))
	t.Cleanup(func() { s.mend(t) })
	settle(t, "/diagnosis", s.asked, "HF210 failed")

	s.logged(t, `"msg":"probe turned","code":"HF210","name":"service","state":"failed"`)
	metrics, err := s.installation.Metrics(t.Context())
	check(t, err)
	for _, want := range []string{`holdfast_probes{code="HF210",name="service",state="failed"} 1`, `holdfast_probes{code="HF215",name="reached",state="skipped"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("got no %s among the metrics", want)
		}
	}
	events, err := s.client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Deployment,involvedObject.name=holdfast,reason=ProbeFailed"})
	check(t, err)
	told := ""
	for _, e := range events.Items {
		told += e.Message + "\n"
	}
	if !strings.Contains(told, "HF210 service: Service holdfast-system/holdfast, which the webhook configurations name, does not exist.") {
		t.Errorf("got no event about HF210 in:\n%s", told)
	}

	waited := make(chan error, 1)
	go func() {
		out, errs, err := s.command(t.Context(), "--wait", "--timeout", "60s")
		if err == nil && !strings.Contains(string(errs), "waiting: HF210 service") {
			t.Errorf("it did not say what it waits for: %s%s", errs, out)
		}
		waited <- err
	}()
	settle(t, "holdfast diagnose", func(t *testing.T) *diagnose.Report { t.Helper(); return s.diagnose(t) }, "HF210 failed")
	s.mend(t)
	if err := <-waited; err != nil {
		t.Errorf("--wait: %v", err)
	}
}

// logged waits for words in the server's log since its last start.
func (s *suite) logged(t *testing.T, words string) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		log := s.log(t)
		if since := log[max(0, bytes.LastIndex(log, []byte(`"msg":"starting"`))):]; bytes.Contains(since, []byte(words)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got no %s in the log", words)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (s *suite) log(t *testing.T) []byte {
	t.Helper()
	log, err := os.ReadFile(s.installation.LogPath())
	check(t, err)
	return log
}
