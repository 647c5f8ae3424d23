package kubelet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/kubelet"
	"holdfast.dev/holdfast/test/suites"
)

// suite is what the tests share: a control plane with one node.
type suite struct {
	cluster *controlplane.Cluster
	client  *kubernetes.Clientset
	node    *kubelet.Kubelet
	kubectl string
	program controlplane.Program // testdata/server
	dir     string
}

var shared *suite

func TestMain(m *testing.M) {
	os.Exit(suites.Main(m, suites.Options{Name: "kubelet", Needs: "network namespaces"}, start))
}

func start(ctx context.Context, base *suites.Suite) (err error) {
	s := &suite{cluster: base.Cluster, client: base.Client, kubectl: base.Binaries.Kubectl, dir: base.Dir}
	s.program = controlplane.Program{Image: "server", Path: "/bin/server", Binary: filepath.Join(s.dir, "server"), User: 1234}
	build := exec.CommandContext(ctx, "go", "build", "-o", s.program.Binary, "./testdata/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if s.node, err = kubelet.Start(ctx, kubelet.Options{Cluster: s.cluster, Log: os.Stderr}); err != nil {
		return err
	}
	base.Cleanup(s.node.Stop)
	s.node.Provide(s.program)
	shared = s
	return nil
}

// try runs kubectl and returns what it prints, both streams, and how it exits.
func (s *suite) try(ctx context.Context, stdin string, args ...string) (string, int) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, s.kubectl, append([]string{"--kubeconfig", s.cluster.Kubeconfig()}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	_ = cmd.Run()
	return out.String(), cmd.ProcessState.ExitCode()
}

func (s *suite) run(t *testing.T, args ...string) string {
	t.Helper()
	out, code := s.try(t.Context(), "", args...)
	if code != 0 {
		t.Fatalf("kubectl %s: exit %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

// pods are those with a label app.
func (s *suite) pods(ctx context.Context, namespace, app string) ([]corev1.Pod, error) {
	list, err := s.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	return list.Items, err
}

// ready are the addresses that a Service leads to.
func (s *suite) ready(ctx context.Context, namespace, service string) ([]string, error) {
	list, err := s.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return nil, err
	}
	var addresses []string
	for i := range list.Items {
		for _, e := range list.Items[i].Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				addresses = append(addresses, e.Addresses...)
			}
		}
	}
	slices.Sort(addresses)
	return addresses, nil
}

// until polls for at most a time that is long for what it waits for.
func until(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(errors.Join(t.Context().Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
