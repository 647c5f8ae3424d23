package kubelet_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
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

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		fmt.Fprintln(os.Stderr, "-short: no control plane is started, nothing is tested")
		return 0
	}
	if reason := controlplane.Root(); reason != nil {
		if os.Getenv("CI") == "true" {
			fmt.Fprintln(os.Stderr, "these tests need network namespaces, and CI is true:", reason)
			return 1
		}
		fmt.Fprintln(os.Stderr, "not tested, without network namespaces:", reason)
		return 0
	}
	s, stop, err := start(context.Background())
	defer stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = s
	return m.Run()
}

func start(ctx context.Context) (_ *suite, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, stop := range slices.Backward(stops) {
			stop()
		}
	}
	binaries, err := controlplane.Build(ctx, os.Stderr)
	if err != nil {
		return nil, stop, err
	}
	s := &suite{kubectl: binaries.Kubectl}
	if s.dir, err = os.MkdirTemp("", "holdfast-kubelet-"); err != nil {
		return nil, stop, err
	}
	stops = append(stops, func() { _ = os.RemoveAll(s.dir) })
	s.program = controlplane.Program{Image: "server", Path: "/bin/server", Binary: filepath.Join(s.dir, "server"), User: 1234}
	build := exec.CommandContext(ctx, "go", "build", "-o", s.program.Binary, "./testdata/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, stop, fmt.Errorf("%w: %s", err, out)
	}
	if s.cluster, err = controlplane.Start(ctx, controlplane.Options{Binaries: binaries, Log: os.Stderr}); err != nil {
		return nil, stop, err
	}
	stops = append(stops, s.cluster.Stop)
	if s.client, err = kubernetes.NewForConfig(s.cluster.Config()); err != nil {
		return nil, stop, err
	}
	if s.node, err = kubelet.Start(ctx, kubelet.Options{Cluster: s.cluster, Log: os.Stderr}); err != nil {
		return nil, stop, err
	}
	stops = append(stops, s.node.Stop)
	s.node.Provide(s.program)
	return s, stop, nil
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
