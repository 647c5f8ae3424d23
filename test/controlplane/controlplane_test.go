package controlplane

import (
	stdcmp "cmp"
	"context"
	"errors"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// TestControlPlane goes through the package on one cluster: starting one takes longer than all that is done with it.
func TestControlPlane(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a control plane")
	}
	binaries, err := Build(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(t.Context(), Options{Binaries: binaries, Dir: t.TempDir(), Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{cluster: c, client: client}

	t.Run("a Deployment gets a pod", s.deployment)
	t.Run("users may do what RBAC lets them", s.users)
	t.Run("nodes made by hand", s.nodes)
	t.Run("istiod in its modes", s.istiodModes)
	t.Run("two revisions of istiod", s.istiodRevisions)
	t.Run("hosts", s.hosts)
	t.Run("nothing is left", s.stop)
}

type suite struct {
	cluster *Cluster
	client  kubernetes.Interface
}

const deploymentYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: app}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.7.7, selector: {app: web}, ports: [{port: 80}]}
`

func (s *suite) deployment(t *testing.T) {
	ctx := deadline(t)
	for range 2 { // the second time changes nothing
		if err := s.cluster.Apply(ctx, []byte(deploymentYAML)); err != nil {
			t.Fatal(err)
		}
	}
	if err := WaitFor(ctx, "a pod", s.cluster.processes, func(ctx context.Context) error {
		pods, err := s.client.CoreV1().Pods("shop").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err == nil && len(pods.Items) != 1 {
			err = errors.New("not one pod")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	event, err := s.cluster.WaitAuditEvent(ctx, AuditQuery{Verb: "create", Resource: "pods", Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := event.User.Username, "system:serviceaccount:kube-system:replicaset-controller"; got != want {
		t.Errorf("pod was created by %q, want %q", got, want)
	}
	if got, want := event.ResponseStatus.Code, http.StatusCreated; got != want {
		t.Errorf("status of the audit event is %d, want %d", got, want)
	}
}

func (s *suite) users(t *testing.T) {
	ctx := deadline(t)
	config, err := s.cluster.ServiceAccountConfig(ctx, "default", "default")
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = nobody.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("ServiceAccount without rights lists pods: got %v, want Forbidden", err)
	}
	out, err := exec.CommandContext(ctx, s.cluster.binaries.Kubectl, "--kubeconfig", s.cluster.Kubeconfig(), "version", "-o", "yaml").Output()
	if err != nil {
		t.Fatalf("kubectl: %v", err)
	}
	var version struct {
		ServerVersion struct{ GitVersion string } `json:"serverVersion"`
	}
	if err := yaml.Unmarshal(out, &version); err != nil {
		t.Fatal(err)
	}
	if got := version.ServerVersion.GitVersion; !strings.HasPrefix(got, "v1.") {
		t.Errorf("server's version is %q, want a released one", got)
	}
}

func (s *suite) nodes(t *testing.T) {
	ctx := deadline(t)
	if err := s.cluster.AddNode(ctx, "old", "v1.30.2"); err != nil {
		t.Fatal(err)
	}
	node, err := s.client.CoreV1().Nodes().Get(ctx, "old", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := node.Status.NodeInfo.KubeletVersion, "v1.30.2"; got != want {
		t.Errorf("kubelet version is %q, want %q", got, want)
	}
}

func (s *suite) istiodModes(t *testing.T) {
	ctx := deadline(t)
	if err := s.cluster.CreateNamespace(ctx, "meshed", map[string]string{"istio-injection": "enabled"}); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []struct {
		name    string
		options IstioOptions
		want    []string
	}{
		{
			"init, classic",
			IstioOptions{Native: "false"},
			[]string{"migrate", "istio-init"},
		},
		{
			"init, native, reinvoked",
			IstioOptions{Native: "true", Reinvocation: "IfNeeded"},
			[]string{"istio-init", "istio-proxy", "migrate"},
		},
		{
			"CNI, classic by an old kubelet",
			IstioOptions{CNI: true, Native: "auto"},
			[]string{"istio-validation", "migrate"},
		},
		{
			"CNI, native",
			IstioOptions{CNI: true, Native: "true"},
			[]string{"istio-validation", "istio-proxy", "migrate"},
		},
	} {
		t.Run(mode.name, func(t *testing.T) {
			ctx := deadline(t)
			istiod, err := s.cluster.StartIstiod(ctx, mode.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s.initContainers(ctx, t, "meshed"), mode.want); diff != "" {
				t.Errorf("init containers (-got +want):\n%s", diff)
			}
			s.istiodObjects(ctx, t, mode.options)
			if err := istiod.Uninstall(ctx); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(s.initContainers(ctx, t, "meshed"), []string{"migrate"}); diff != "" {
				t.Errorf("init containers after istiod was uninstalled (-got +want):\n%s", diff)
			}
		})
	}
}

// istiodObjects checks that the chart's objects, from which the mode can be read, say what was asked for.
func (s *suite) istiodObjects(ctx context.Context, t *testing.T, o IstioOptions) {
	t.Helper()
	deployment, err := s.client.AppsV1().Deployments(IstioNamespace).Get(ctx, "istiod", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := *deployment.Spec.Replicas; got != 0 {
		t.Errorf("istiod's Deployment has %d replicas, want 0", got)
	}
	native := corev1.EnvVar{Name: "ENABLE_NATIVE_SIDECARS", Value: o.Native}
	if got := deployment.Spec.Template.Spec.Containers[0].Env; !slices.Contains(got, native) {
		t.Errorf("istiod's environment is %v, want it to contain %v", got, native)
	}
	webhooks, err := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "istio-sidecar-injector", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := admissionregistrationv1.ReinvocationPolicyType(stdcmp.Or(o.Reinvocation, "Never"))
	for _, webhook := range webhooks.Webhooks {
		if got := *webhook.ReinvocationPolicy; got != want {
			t.Errorf("reinvocationPolicy of %s is %s, want %s", webhook.Name, got, want)
		}
	}
}

func (s *suite) istiodRevisions(t *testing.T) {
	ctx := deadline(t)
	for _, o := range []IstioOptions{
		{Native: "false"},
		{Revision: "canary", Native: "true", CNI: true, MeshConfig: map[string]any{"rootNamespace": "elsewhere"}},
	} {
		istiod, err := s.cluster.StartIstiod(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := istiod.Uninstall(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		})
	}
	if err := s.cluster.CreateNamespace(ctx, "canary", map[string]string{"istio.io/rev": "canary"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.initContainers(ctx, t, "meshed"), []string{"migrate", "istio-init"}); diff != "" {
		t.Errorf("init containers by the default revision (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(s.initContainers(ctx, t, "canary"), []string{"istio-validation", "istio-proxy", "migrate"}); diff != "" {
		t.Errorf("init containers by the canary (-got +want):\n%s", diff)
	}
	mesh, err := s.client.CoreV1().ConfigMaps(IstioNamespace).Get(ctx, "istio-canary", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := mesh.Data["mesh"], "rootNamespace: elsewhere"; !strings.Contains(got, want) {
		t.Errorf("mesh configuration is\n%s\nwant it to contain %q", got, want)
	}
}

func (s *suite) stop(t *testing.T) {
	if err := s.cluster.Err(); err != nil {
		t.Errorf("a program ended by itself: %v", err)
	}
	all := slices.Concat(s.cluster.processes, s.cluster.guests)
	s.cluster.Stop()
	for _, p := range all {
		if p.Err() == nil {
			t.Errorf("%s still runs", p.Name())
		}
	}
}

// initContainers creates a pod with one init container, as a dry run, and returns the order that admission gave it.
func (s *suite) initContainers(ctx context.Context, t *testing.T, namespace string) []string {
	t.Helper()
	pod, err := s.client.CoreV1().Pods(namespace).Create(ctx, plainPod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, container := range pod.Spec.InitContainers {
		names = append(names, container.Name)
	}
	return names
}

func plainPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "plain"},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "migrate", Image: "app"}},
			Containers:     []corev1.Container{{Name: "app", Image: "app"}},
		},
	}
}

// deadline is the test's context with an end that comes before the test binary's.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
