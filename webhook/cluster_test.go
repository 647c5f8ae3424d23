package webhook

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"holdfast.dev/holdfast/injectors"
)

func TestSourcesAreReadAndReduced(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{objects: append(chain(),
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.33.1", KernelVersion: "6"}}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "grafana"}, Data: map[string]string{"mesh": "x"}},
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "vault", Name: "injector", Labels: map[string]string{NameLabel: "vault-agent-injector"}},
			Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "hashicorp/vault-k8s:1.7.6", Env: []corev1.EnvVar{
				{Name: "AGENT_INJECT_VAULT_ADDR", Value: "http://vault.vault.svc:8200"},
				{Name: "FROM_ELSEWHERE", ValueFrom: &corev1.EnvVarSource{}},
			}}}}}},
		},
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Labels: map[string]string{NameLabel: "web"}}},
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "vault", Name: "vault"},
			Spec:       corev1.ServiceSpec{ClusterIPs: []string{"10.96.7.7", "fd00::7"}, Ports: []corev1.ServicePort{{Name: "http", Port: 8200}}, Selector: map[string]string{"a": "b"}},
		},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "vault", Name: "headless"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"None"}}},
	)})
	src := e.cluster.sources()
	want := &injectors.Sources{
		ConfigMaps: map[string]map[string]string{
			"istio-system/istio": {"mesh": "{}"},
			"istio-system/istio-sidecar-injector": {
				"config": "policy: enabled",
				"values": `{"global":{"tag":"1.30.0"},"pilot":{"cni":{"enabled":false},"env":{"ENABLE_NATIVE_SIDECARS":"false"}}}`,
			},
		},
		Deployments: []injectors.Deployment{{
			Namespace: "vault", Name: "injector", Labels: map[string]string{NameLabel: "vault-agent-injector"},
			Env:    map[string]string{"AGENT_INJECT_VAULT_ADDR": "http://vault.vault.svc:8200"},
			Images: []string{"hashicorp/vault-k8s:1.7.6"},
		}},
		Kubelets: []string{"v1.33.1"}, Namespaces: []string{"istio-system"},
	}
	if diff := cmp.Diff(want, src); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	got, ok := e.cluster.Service("vault", "vault")
	addrs := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(injectors.Service{ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.7.7"), netip.MustParseAddr("fd00::7")}, Ports: []injectors.ServicePort{{Port: 8200, Protocol: "http"}}, Selector: map[string]string{"a": "b"}}, got, addrs); !ok || diff != "" {
		t.Errorf("service: %t (-want +got):\n%s", ok, diff)
	}
	if got, ok := e.cluster.Service("vault", "headless"); !ok || len(got.ClusterIPs) > 0 {
		t.Errorf("headless service: got %v, %t", got, ok)
	}
	if _, ok := e.cluster.Service("vault", "none"); ok {
		t.Error("a service that is not there is found")
	}
	if n, ok := get[*corev1.Node](e.cluster.nodes, "a"); !ok || n.Status.NodeInfo.KernelVersion != "" {
		t.Errorf("node is not reduced: %+v", n)
	}
}

func TestForbiddenSourceBlocksNothingAndRecovers(t *testing.T) {
	t.Parallel()
	var allowed atomic.Bool
	e := newEdge(t, edgeOptions{
		objects: append(chain(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.33.1"}}}),
		prepare: func(c *fake.Clientset) {
			for _, resource := range []string{"nodes", "configmaps"} {
				forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("RBAC"))
				c.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) { return !allowed.Load(), nil, forbidden })
				c.PrependWatchReactor(resource, func(clienttesting.Action) (bool, watch.Interface, error) { return !allowed.Load(), nil, forbidden })
			}
		},
	})
	// newEdge has waited for readiness: the server answers.
	want := []string{"nodes: forbidden", "configmaps in istio-system: forbidden"}
	if diff := cmp.Diff(want, e.cluster.current.Load().missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if out := e.review(t, ValidatePath, podCreation("enforce", stuck(t))); out.Allowed {
		t.Error("a pod that is stuck by fact is admitted")
	}
	allowed.Store(true)
	eventually(t, func() error {
		s := e.cluster.current.Load()
		if len(s.missing) > 0 {
			return fmt.Errorf("missing %v", s.missing)
		}
		if kubelets := e.cluster.sources().Kubelets; !slices.Equal(kubelets, []string{"v1.33.1"}) {
			return fmt.Errorf("kubelets %v", kubelets)
		}
		return nil
	})
}

func TestSnapshotFollowsTheCluster(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{objects: chain()})
	hooks := func() string {
		n, err := e.cluster.Namespace(t.Context(), "enforce")
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, h := range n.Hooks {
			word := h.Configuration
			if h.Self {
				word += "(self)"
			}
			if h.Injector != nil {
				word += "=" + h.Injector.Name
			}
			out = append(out, word)
		}
		return strings.Join(out, " ")
	}
	if got, want := hooks(), "0-holdfast(self) istio-sidecar-injector=istio vault-agent-injector-cfg=vault"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	webhooks := e.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	early := mutatingConfiguration("0-a-vault", "vault.hashicorp.com", "vault", "vault-agent-injector-svc", "/mutate", nil, false)
	if _, err := webhooks.Create(t.Context(), early, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got, want := hooks(), "0-a-vault=vault 0-holdfast(self) istio-sidecar-injector=istio vault-agent-injector-cfg=vault"; got != want {
			return fmt.Errorf("got %s, want %s", got, want)
		}
		if !strings.Contains(e.logged.String(), `\"0-holdfast\" is called after 0-a-vault`) {
			return fmt.Errorf("log:\n%s", e.logged)
		}
		return nil
	})
}

func TestChangesWithoutEndDoNotPutTheSnapshotOff(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{objects: chain()})
	stop := make(chan struct{})
	var flapping sync.WaitGroup
	flapping.Go(func() {
		often := time.NewTicker(quiet / 10)
		defer often.Stop()
		for {
			select {
			case <-stop:
				return
			case <-often.C:
				e.cluster.changed()
			}
		}
	})
	defer flapping.Wait()
	defer close(stop)
	webhooks := e.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	late := mutatingConfiguration("late", "late.example.com", "late", "late", "/", nil, false)
	if _, err := webhooks.Create(t.Context(), late, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if !slices.ContainsFunc(e.cluster.current.Load().hooks, func(h *injectors.Hook) bool { return h.Configuration == "late" }) {
			return errors.New("a new configuration is not seen")
		}
		return nil
	})
}

func TestNamespacesAreRemembered(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{objects: chain()})
	look := func() *injectors.Namespace {
		n, err := e.cluster.Namespace(t.Context(), "enforce")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := look()
	if look() != first {
		t.Error("the hooks of a namespace are looked for twice")
	}
	changed := namespace("enforce", map[string]string{"holdfast.dev/mode": "warn"})
	changed.ResourceVersion = "2"
	if _, err := e.client.CoreV1().Namespaces().Update(t.Context(), changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got := look().Labels["holdfast.dev/mode"]; got != "warn" {
			return fmt.Errorf("got mode %s, want warn", got)
		}
		return nil
	})
	if err := e.client.CoreV1().Namespaces().Delete(t.Context(), "enforce", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if _, ok := e.cluster.current.Load().remembered.Load("enforce"); ok {
			return errors.New("a namespace that is gone is remembered")
		}
		return nil
	})
}

func TestNotice(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		name      string
		reinvoked bool
		want      string
	}{
		"first and reinvoked": {"0-holdfast", true, ""},
		"behind Istio":        {"z-holdfast", true, `"z-holdfast" is called after istio-sidecar-injector, vault-agent-injector-cfg: give it a name that sorts before them`},
		"called once":         {"0-holdfast", false, `"0-holdfast" is not called again after the injectors: set its reinvocationPolicy to IfNeeded`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := chain()
			objects[0] = mutatingConfiguration(test.name, "pods.mutate.holdfast.dev", "holdfast-system", "holdfast", "/mutate", nil, test.reinvoked)
			e := newEdge(t, edgeOptions{objects: objects})
			if got := e.cluster.current.Load().notice(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	e := newEdge(t, edgeOptions{objects: chain()[1:]})
	if got := e.cluster.current.Load().notice(); !strings.HasPrefix(got, "no mutating webhook configuration calls Holdfast") {
		t.Errorf("not registered: got %q", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{objects: chain()})
	bodies := map[string][]byte{
		MutatePath: body(t, podCreation("enforce", stuck(t))), ValidatePath: body(t, podCreation("warn", stuck(t))),
	}
	var clients sync.WaitGroup
	for range 8 {
		for path, body := range bodies {
			clients.Go(func() {
				for range 25 {
					if raw, err := e.send(t.Context(), path, body); err != nil || !strings.Contains(string(raw), `"allowed":true`) {
						t.Errorf("%s: %s, %v", path, raw, err)
					}
				}
			})
		}
	}
	clients.Go(func() {
		webhooks := e.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
		for i := range 10 {
			c := mutatingConfiguration(fmt.Sprintf("other-%d", i), "other.example.com", "other", "other", "/", nil, false)
			if _, err := webhooks.Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
			n := namespace("warn", map[string]string{"holdfast.dev/mode": "warn", "round": fmt.Sprint(i)})
			n.ResourceVersion = fmt.Sprint(i + 2)
			if _, err := e.client.CoreV1().Namespaces().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
			e.cluster.changed()
		}
	})
	clients.Wait()
}

// TestWebhookServicesAreKnown reads who answers for webhooks, and what of their Services is needed to find the pods behind them.
func TestWebhookServicesAreKnown(t *testing.T) {
	t.Parallel()
	validating := validatingConfiguration("hook", "enforce", "hook")
	validating.Webhooks = append(validating.Webhooks, validating.Webhooks[0], *validating.Webhooks[0].DeepCopy(), *validating.Webhooks[0].DeepCopy())
	validating.Webhooks[2].ClientConfig.Service.Port = new(int32(8443))
	validating.Webhooks[3].ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: new("https://elsewhere")}
	e := newEdge(t, edgeOptions{objects: append(chain(), validating, mutatingConfiguration("hook", "hook.example.com", "enforce", "hook", "/m", nil, false),
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "enforce", Name: "hook"},
			Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "hook"}, Ports: []corev1.ServicePort{
				{Name: "https", Port: 443, TargetPort: intstr.FromString("webhook"), AppProtocol: new("tls"), NodePort: 30000},
				{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
			}},
		},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "enforce", Name: "second"}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "audit", Name: "other"}},
	)})
	want := []injectors.WebhookService{
		{Configuration: "MutatingWebhookConfiguration/hook", Service: "hook", Port: 443},
		{Configuration: "ValidatingWebhookConfiguration/hook", Service: "hook", Port: 443},
		{Configuration: "ValidatingWebhookConfiguration/hook", Service: "hook", Port: 8443},
	}
	if diff := cmp.Diff(want, e.reviewer.env.Webhooks("enforce")); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	if got := e.reviewer.env.Webhooks("audit"); got != nil {
		t.Errorf("webhooks of a namespace without: got %v, want none", got)
	}
	count := 0
	for s := range e.reviewer.env.ServicesIn("enforce") {
		count++
		if s.Selector == nil {
			continue
		}
		hook := injectors.Service{Selector: map[string]string{"app": "hook"}, Ports: []injectors.ServicePort{{Port: 443, TargetName: "webhook", Protocol: "tls"}}}
		if diff := cmp.Diff(hook, s); diff != "" {
			t.Errorf("service (-want +got):\n%s", diff)
		}
	}
	if count != 2 {
		t.Errorf("got %d services in the namespace, want 2", count)
	}
	for range e.reviewer.env.ServicesIn("enforce") {
		break // stops when told to
	}
	if err := e.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), "hook", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got := e.reviewer.env.Webhooks("enforce"); len(got) != 1 {
			return fmt.Errorf("after the configuration has gone: got %v, want the mutating one", got)
		}
		return nil
	})
}
