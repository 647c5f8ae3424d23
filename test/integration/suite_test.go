// Package integration proves Holdfast against the real things: kube-apiserver, istiod, the kernel, and a stand-in for the
// Vault injector that is bound to recordings of the real one.
package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/holdfast"
	"holdfast.dev/holdfast/test/kernel"
	"holdfast.dev/holdfast/test/suites"
	"holdfast.dev/holdfast/test/truth"
	"holdfast.dev/holdfast/test/vaultinjector"
)

// suite is what the tests of this package share: starting it takes longer than most of them.
type suite struct {
	cluster  *controlplane.Cluster
	client   *kubernetes.Clientset
	binaries controlplane.Binaries
	binary   string // holdfast
	vault    *vaultinjector.Server
	rig      *kernel.Rig // nil where the machine cannot play pods
}

var shared *suite

func TestMain(m *testing.M) {
	os.Exit(suites.Main(m, suites.Options{Name: "integration"}, start))
}

func start(ctx context.Context, base *suites.Suite) (err error) {
	s := &suite{cluster: base.Cluster, client: base.Client, binaries: base.Binaries}
	if s.binary, err = holdfast.Build(ctx, base.Dir); err != nil {
		return err
	}
	if s.vault, err = (vaultinjector.Injector{}).Start(ctx, nil, nil); err != nil {
		return err
	}
	base.Cleanup(func() { _ = s.vault.Close() })
	switch reason := kernel.Root(); {
	case reason == nil:
		if s.rig, err = kernel.New(ctx, s.binaries.PilotAgent); err != nil {
			return err
		}
		base.Cleanup(func() { _ = s.rig.Close() })
	case os.Getenv("CI") == "true":
		return fmt.Errorf("the kernel rig cannot run, and CI is true: %w", reason)
	default:
		fmt.Fprintln(os.Stderr, "the kernel rig does not run:", reason)
	}
	shared = s
	return s.registerVault(ctx, "vault-agent-injector-cfg")
}

// registerVault registers the stand-in under the given configuration name.
func (s *suite) registerVault(ctx context.Context, name string) error {
	objects, err := (vaultinjector.Injector{}).Objects(vaultinjector.Registration{Name: name, URL: s.vault.URL, CABundle: s.vault.CABundle})
	if err != nil {
		return err
	}
	stream, err := vaultinjector.YAML(objects)
	if err != nil {
		return err
	}
	return s.cluster.Apply(ctx, stream)
}

// istio starts istiod in the mode of a row and removes it when the test is over.
func (s *suite) istio(t *testing.T, o controlplane.IstioOptions) {
	t.Helper()
	i, err := s.cluster.StartIstiod(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Uninstall(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// mode returns the options for the rows of the truth table with this mode of Istio.
func mode(r truth.Row) controlplane.IstioOptions {
	o := controlplane.IstioOptions{CNI: r.CNI, Native: "false", Reinvocation: "Never"}
	if r.Native {
		o.Native = "true"
	}
	if r.Reinvoked {
		o.Reinvocation = "IfNeeded"
	}
	return o
}

// namespace creates a namespace in the mesh; labels come on top.
func (s *suite) namespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	all := map[string]string{"istio-injection": "enabled"}
	maps.Copy(all, labels)
	if err := s.cluster.CreateNamespace(t.Context(), name, all); err != nil {
		t.Fatal(err)
	}
}

// web is the pod of the truth table.
func web(namespace string, initFirst bool) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace, Annotations: map[string]string{
			"vault.hashicorp.com/agent-inject":           "true",
			"vault.hashicorp.com/role":                   "web",
			"vault.hashicorp.com/agent-inject-secret-db": "secret/db",
		}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "migrate", Image: "migrate:1"}},
			Containers:     []corev1.Container{{Name: "app", Image: "app:1"}},
		},
	}
	if initFirst {
		pod.Annotations["vault.hashicorp.com/agent-init-first"] = "true"
	}
	return pod
}

// dryRun creates a pod without keeping it: the API server's own answer, after all admission.
func (s *suite) dryRun(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	return s.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// order prints the init containers as the truth table does.
func order(pod *corev1.Pod) string {
	var names []string
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		name := c.Name
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			name += "*"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// vaultAddress is the ClusterIP of the store's Service.
var vaultAddress = netip.MustParseAddr("10.96.7.7")

// kernel plays the pod and returns the letters of the truth table: migrate, vault-agent-init, app.
func (s *suite) kernel(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	to := kernel.Destination{Addr: vaultAddress, Port: 8200}
	results, err := s.rig.Play(t.Context(), pod, func(string) []kernel.Destination { return []kernel.Destination{to} })
	if exit := (*kernel.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("play: %v\n%s", err, exit.Output)
	} else if err != nil {
		t.Fatal(err)
	}
	letters := map[string]string{}
	for _, r := range results {
		letters[r.Container] = map[kernel.Verdict]string{kernel.Direct: "D", kernel.Proxied: "P", kernel.Refused: "X"}[r.Verdict]
	}
	return letters["migrate"] + letters["vault-agent-init"] + letters["app"]
}

// holdfast installs Holdfast, opt-in, with the given configuration ("": as shipped), until the test is over.
func (s *suite) holdfast(t *testing.T, configuration string) *holdfast.Installation {
	t.Helper()
	return s.install(t, holdfast.Options{Overlay: "opt-in", Config: configuration})
}

func (s *suite) install(t *testing.T, o holdfast.Options) *holdfast.Installation {
	t.Helper()
	o.Binary = s.binary
	i, err := holdfast.Install(t.Context(), s.cluster, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(i.Tail())
		}
		i.Stop()
	})
	return i
}
