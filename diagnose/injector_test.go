package diagnose

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"holdfast.dev/holdfast/injectors"
)

// world is a cluster with istiod in it, healthy until a test changes something.
type world struct {
	config     *admissionregistrationv1.MutatingWebhookConfiguration
	service    *corev1.Service
	deployment *appsv1.Deployment
	slice      *discoveryv1.EndpointSlice
	namespaces []*corev1.Namespace
	more       []runtime.Object
	left       []string // kinds that are not there: service, deployment, slice
	now        time.Time
	dial       func(address string) (net.Conn, error)
	hangs      bool // it takes connections and answers nothing
	raw        map[string]string
	try        func(*corev1.Pod) (*corev1.Pod, error)
	outside    bool
	denied     string // a resource that may not be listed
	report     *Report
	calls      *Calls
	served     tls.Certificate
	about      string // what is asked about, where it is not istioObject
}

var today = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// authority makes a CA.
func authority(t *testing.T, until time.Time) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "istio-ca"}, NotBefore: today.AddDate(-1, 0, 0), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// serving makes a certificate of a CA.
func serving(t *testing.T, ca *x509.Certificate, key *ecdsa.PrivateKey, host string, until time.Time) tls.Certificate {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{host}, NotBefore: today.AddDate(0, -1, 0), NotAfter: until,
	}, ca, own.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
}

func istiod(t *testing.T) (*world, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	ca, key, bundle := authority(t, today.AddDate(10, 0, 0))
	w := &world{
		config: istioConfig("istio-sidecar-injector", "default", bundle),
		service: &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod"},
			Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "istiod"}, Ports: []corev1.ServicePort{
				{Name: "https-dns", Port: 15012}, {Name: "https-webhook", Port: 443, TargetPort: intstr.FromInt32(15017)},
			}},
		},
		deployment: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod"}},
		slice:      sliceOf("istiod", "https-webhook", 15017, "10.1.2.3"),
		namespaces: []*corev1.Namespace{
			{ObjectMeta: metav1.ObjectMeta{Name: "default"}},
			{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}},
			{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"istio-injection": "enabled"}}},
		},
		now: today, served: serving(t, ca, key, "istiod.istio-system.svc", today.AddDate(1, 0, 0)), calls: &Calls{},
		raw: map[string]string{"/version": "{}", "/metrics": "process_start_time_seconds 1\n"},
	}
	w.deployment.Spec.Template.Labels = map[string]string{"app": "istiod"}
	w.deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "discovery", Ports: []corev1.ContainerPort{{ContainerPort: 15012}, {ContainerPort: 15017}}}}
	w.try = func(pod *corev1.Pod) (*corev1.Pod, error) {
		pod = pod.DeepCopy()
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy"})
		return pod, nil
	}
	w.dial = func(string) (net.Conn, error) { return w.speak(t.Context()) }
	return w, ca, key
}

// speak is a connection to a server that shows the certificate.
func (w *world) speak(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		c := tls.Server(there, &tls.Config{Certificates: []tls.Certificate{w.served}, MinVersion: tls.VersionTLS12})
		_ = c.HandshakeContext(ctx)
		_, _ = c.Read(make([]byte, 1))
		if w.hangs {
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	return here, nil
}

func istioConfig(name, revision string, bundle []byte) *admissionregistrationv1.MutatingWebhookConfiguration {
	entry := func(name string, namespaces, objects *metav1.LabelSelector) admissionregistrationv1.MutatingWebhook {
		path, port := "/inject", int32(443)
		return admissionregistrationv1.MutatingWebhook{
			Name: name, NamespaceSelector: namespaces, ObjectSelector: objects,
			ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: bundle, Service: &admissionregistrationv1.ServiceReference{
				Namespace: "istio-system", Name: "istiod", Path: &path, Port: &port,
			}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}
	}
	in := func(key string, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: values}
	}
	not := func(key string, values ...string) metav1.LabelSelectorRequirement {
		if len(values) == 0 {
			return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpDoesNotExist}
		}
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: values}
	}
	all := func(requirements ...metav1.LabelSelectorRequirement) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: requirements}
	}
	c := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"istio.io/rev": revision}},
		Webhooks: []admissionregistrationv1.MutatingWebhook{
			entry("rev.namespace.sidecar-injector.istio.io", all(in("istio.io/rev", revision), not("istio-injection")), all(not("sidecar.istio.io/inject", "false"))),
			entry("rev.object.sidecar-injector.istio.io", all(not("istio.io/rev"), not("istio-injection")),
				all(not("sidecar.istio.io/inject", "false"), in("istio.io/rev", revision))),
		},
	}
	if revision == "default" {
		c.Webhooks = append(c.Webhooks,
			entry("namespace.sidecar-injector.istio.io", all(in("istio-injection", "enabled")), all(not("sidecar.istio.io/inject", "false"))),
			entry("object.sidecar-injector.istio.io", all(not("istio-injection"), not("istio.io/rev")), all(in("sidecar.istio.io/inject", "true"), not("istio.io/rev"))))
	}
	return c
}

func sliceOf(service, name string, port int32, addresses ...string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: service + "-x", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Ports:      []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: addresses}},
	}
}

// subject is what the probes ask, from inside unless the test wants it otherwise.
func (w *world) subject() *Subject {
	var objects []runtime.Object
	for _, o := range []struct {
		kind   string
		object runtime.Object
	}{{"config", w.config}, {"service", w.service}, {"deployment", w.deployment}, {"slice", w.slice}} {
		if !slices.Contains(w.left, o.kind) {
			objects = append(objects, o.object)
		}
	}
	for _, n := range w.namespaces {
		objects = append(objects, n)
	}
	client := fake.NewClientset(append(objects, w.more...)...)
	if w.denied != "" {
		client.PrependReactor("list", w.denied, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: w.denied}, "", errors.New("no"))
		})
	}
	s := &Subject{
		Client: client, Catalogue: injectors.NewCatalogue(injectors.Builtin()...),
		Own: Own{Namespace: "holdfast-system", Service: "holdfast"}, Now: func() time.Time { return w.now }, Calls: w.calls,
		Raw: func(_ context.Context, path string) ([]byte, error) {
			page, ok := w.raw[path]
			if !ok {
				return nil, apierrors.NewNotFound(schema.GroupResource{}, path)
			}
			return []byte(page), nil
		},
		Dial: func(_ context.Context, address string) (net.Conn, error) { return w.dial(address) },
	}
	if w.try != nil {
		s.TryPod = func(_ context.Context, pod *corev1.Pod) (*corev1.Pod, []string, error) {
			back, err := w.try(pod)
			return back, nil, err
		}
	}
	if w.outside {
		s.ServerReport = func(context.Context) (*Report, error) {
			if w.report == nil {
				return nil, errors.New("no route")
			}
			return w.report, nil
		}
		return s
	}
	s.Server = &Server{Certificate: func() (*tls.Certificate, error) { return nil, errors.New("none") }}
	return s
}

// ask returns the lines about injectors.
func (w *world) ask(ctx context.Context) []Line {
	groups := []Group{{Name: "registration", Probes: []Probe{apiServer()}}}
	for _, g := range Groups() {
		if g.Name == "injectors" {
			groups = append(groups, g)
		}
	}
	r := run(ctx, w.subject(), groups, whole)
	return r.Probes[1:]
}

func show(lines []Line) string {
	var b strings.Builder
	for i := range lines {
		l := &lines[i]
		fmt.Fprintf(&b, "%s %s %s: %s\n  %s\n    %s\n", l.Code, l.Object, l.State, l.Message, l.Effect, strings.ReplaceAll(l.Fix, "\n", "\n    "))
	}
	return b.String()
}

// gone adds a configuration whose istiod is gone, and two namespaces that ask for it.
func (w *world) gone(name string, labels, annotations map[string]string) {
	c := istioConfig("istio-sidecar-injector-"+name, name, w.config.Webhooks[0].ClientConfig.CABundle)
	c.Labels, c.Annotations = labels, annotations
	for i := range c.Webhooks {
		c.Webhooks[i].ClientConfig.Service.Name = "istiod-canary"
	}
	w.more = append(w.more, c)
	for _, ns := range []string{"web", "web2"} {
		w.namespaces = append(w.namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{"istio.io/rev": name}}})
	}
	w.about = "MutatingWebhookConfiguration/" + c.Name
}

// besides has istiod be of revision canary, so that nobody looks after the configuration, and adds one that it does look after, for
// the same pods.
func (w *world) besides(name string) *admissionregistrationv1.MutatingWebhookConfiguration {
	w.deployment.Spec.Template.Labels["istio.io/rev"] = "canary"
	c := istioConfig(name, "default", w.config.Webhooks[0].ClientConfig.CABundle)
	c.Labels["istio.io/rev"] = "canary"
	w.more = append(w.more, c)
	return c
}

// keepsCA adds the ConfigMap in which istiod keeps what the configuration has now.
func (w *world) keepsCA() {
	w.more = append(w.more, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istio-ca-root-cert"},
		Data:       map[string]string{"root-cert.pem": string(w.config.Webhooks[0].ClientConfig.CABundle)},
	})
}

// crashing is a pod of istiod's that was killed two minutes ago, not for the first time.
func crashing() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod-abc", Labels: map[string]string{"app": "istiod"}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "discovery", RestartCount: 7, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				Reason: "OOMKilled", ExitCode: 137, FinishedAt: metav1.NewTime(today.Add(-2 * time.Minute)),
			}},
		}}},
	}
}

const istioObject = "MutatingWebhookConfiguration/istio-sidecar-injector"

func TestInjectors(t *testing.T) {
	t.Parallel()
	setPolicy := func(w *world, p admissionregistrationv1.FailurePolicyType) {
		for i := range w.config.Webhooks {
			w.config.Webhooks[i].FailurePolicy = &p
		}
	}
	byURL := func(w *world, url string) {
		for i := range w.config.Webhooks {
			w.config.Webhooks[i].ClientConfig.Service, w.config.Webhooks[i].ClientConfig.URL = nil, &url
		}
	}
	calling := func(text string) func(*corev1.Pod) (*corev1.Pod, error) {
		return func(*corev1.Pod) (*corev1.Pod, error) {
			return nil, apierrors.NewInternalError(fmt.Errorf(`failed calling webhook "namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": %s`, text))
		}
	}
	counted := func(name string) callID {
		return callID{"1", "mutatingwebhookconfiguration/istio-sidecar-injector", callKey{name, true}}
	}
	untouched := func(pod *corev1.Pod) (*corev1.Pod, error) { return pod, nil }

	tests := []struct {
		name string
		edit func(t *testing.T, w *world, ca *x509.Certificate, key *ecdsa.PrivateKey)
		// want are "CODE state: words of message or fix", which ends with a $, about istio-sidecar-injector; what is not named has passed or does
		// not apply, unless something is.
		want []string
	}{
		{"healthy", func(*testing.T, *world, *x509.Certificate, *ecdsa.PrivateKey) {}, []string{
			"HF231 passed: Istio, revision default; failurePolicy Fail: without an answer the pods that it selects are refused",
			"HF233 passed: 443 to 15017 of the pods", "HF234 passed: 10.1.2.3:15017", "HF235 passed: 4 entries, valid until 2036-09-01",
			"HF236 passed: 10.1.2.3:15017", "HF238 passed: acted on a dry-run pod in namespace shop",
		}},
		{"the server creates no pods", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) { w.try = nil }, []string{
			"HF238 not-applicable: holdfast diagnose tries it",
		}},
		{"Service missing", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left = []string{"service", "deployment", "slice"}
		}, []string{"HF231 failed: Service istio-system/istiod, which does not exist", "HF231 failed: kubectl delete mutatingwebhookconfiguration/istio-sidecar-injector"}},
		{"Service missing, and Deployments that may not be read", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left, w.denied = []string{"service", "deployment", "slice"}, "deployments"
		}, []string{
			"HF231 failed: whether its Deployment does cannot be read here", "HF231 failed: See whether its Deployment is still there:\nkubectl -n istio-system get deployments,services\nIf it is,",
		}},
		{"Deployment missing", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left = []string{"deployment", "slice"}
		}, []string{"HF231 failed: no Deployment makes pods for it"}},
		{"Deployments that may not be read, and no endpoint", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left, w.denied = []string{"deployment", "slice"}, "deployments"
		}, []string{
			"HF231 passed: ", "HF234 failed: has no ready endpoint: a right is missing: list deployments in istio-system",
			"HF234 failed: kubectl -n istio-system get deployments,pods -o wide",
		}},
		{"Deployments that may not be read, and it hangs", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.hangs, w.denied = true, "deployments"
		}, []string{"HF236 failed: What makes its pods cannot be read from here."}},
		{"all resources and what is under them", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].Rules[0].Resources = []string{"*/*"}
			}
		}, []string{"HF238 passed: acted on a dry-run pod in namespace shop"}},
		{"fed by somebody else", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left, w.service.Spec.Selector = []string{"deployment"}, nil
		}, nil},
		{"a tag of a revision that is gone", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.config.Labels["istio.io/tag"], w.left = "prod", []string{"service", "deployment", "slice"}
		}, []string{"HF231 failed: kubectl delete mutatingwebhookconfiguration/istio-sidecar-injector", "HF231 failed: tag prod of revision default"}},
		{"of a revision that nobody looks after", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.deployment.Spec.Template.Labels["istio.io/rev"] = "canary"
		}, []string{
			"HF231 warning: Service istio-system/istiod leads to revision canary, which does not look after this configuration",
			"HF231 warning: By itself that breaks nothing: HF235 and HF236 tell whether the CA in it still fits.\nHave the istiod that answers (revision canary) look after it. It then puts its CA in by itself, and nothing else changes for pods:\n" +
				"kubectl label mutatingwebhookconfiguration/istio-sidecar-injector istio.io/rev=canary --overwrite$",
		}},
		{"of a revision that nobody looks after, nor asks for", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.deployment.Spec.Template.Labels["istio.io/rev"], w.namespaces = "canary", w.namespaces[:2]
		}, []string{
			"HF231 warning: istio.io/rev=canary --overwrite\nOr delete it, with a copy kept in this directory, if no workload asks for revision default in its own template either:\n" +
				"kubectl get mutatingwebhookconfiguration/istio-sidecar-injector -o yaml > istio-sidecar-injector-$(date +%m%d-%H%M%S).yaml && kubectl delete mutatingwebhookconfiguration/istio-sidecar-injector$",
		}},
		{"of a revision that nobody looks after, beside another", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.besides("istio-another")
		}, []string{
			"HF231 warning: By itself that breaks nothing: HF235 and HF236 tell whether the CA in it still fits.\n" +
				"It gets the same pods as mutatingwebhookconfiguration/istio-another, and only one of the two should stay: do what HF237 says below.$",
			"HF237 warning: Nothing has to be done tonight. Pods start, but which of the two they get is not certain.",
			"HF237 warning: What is too much is mutatingwebhookconfiguration/istio-sidecar-injector. Keep a copy",
		}},
		{"of a revision that nobody looks after, before another", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.besides("istio-zzz")
		}, []string{
			"HF231 warning: It gets the same pods as mutatingwebhookconfiguration/istio-zzz, and only one of the two should stay: do what HF237 of MutatingWebhookConfiguration/istio-zzz says below.$",
		}},
		{"of a revision that nobody looks after, beside another that is gone", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.besides("istio-another").Webhooks[0].ClientConfig.Service.Name = "istiod-gone"
		}, []string{
			"HF231 warning: kubectl label mutatingwebhookconfiguration/istio-sidecar-injector istio.io/rev=canary --overwrite$",
			"HF237 warning: its Service istio-system/istiod-gone leads nowhere", "HF237 warning: unless another probe has failed for one of the two",
			"HF237 warning: What is too much is mutatingwebhookconfiguration/istio-another. Keep a copy",
		}},
		{"no CA, of a revision that nobody looks after, beside another", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.besides("istio-another")
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].ClientConfig.CABundle = nil
			}
		}, []string{
			"HF231 warning: do what HF237 says below.$",
			"HF235 failed: It gets the same pods as mutatingwebhookconfiguration/istio-another, and only one of the two should stay: do what HF237 says below.$",
			"HF237 warning: Nothing has to be done tonight, unless another probe has failed for one of the two: pods that get both are then refused, or lack a sidecar.",
		}},
		{"the CA of another, of a revision that nobody looks after, beside another", func(t *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			_, _, other := authority(t, today.AddDate(1, 0, 0))
			w.besides("istio-another")
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].ClientConfig.CABundle = other
			}
		}, []string{
			"HF231 warning: do what HF237 says below.$", "HF236 failed: do what HF237 says below.$", "HF237 warning: unless another probe has failed",
		}},
		{"the CA of another, of a revision that nobody looks after", func(t *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			_, _, other := authority(t, today.AddDate(1, 0, 0))
			w.keepsCA()
			w.deployment.Spec.Template.Labels["istio.io/rev"] = "canary"
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].ClientConfig.CABundle = other
			}
		}, []string{
			"HF231 warning: istio.io/rev=canary --overwrite$",
			"HF236 failed: \nDo what HF231 says above: istiod then puts its CA in by itself.$",
		}},
		{"another port, of a revision that nobody looks after", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.deployment.Spec.Template.Labels["istio.io/rev"], w.service.Spec.Ports[1].Port = "canary", 8443
		}, []string{
			"HF231 warning: istio.io/rev=canary --overwrite$",
			"HF233 failed: Port 8443 of the Service leads to 15017 of the pods, where the webhook is served. Have the entries call that:\nkubectl patch",
			"HF233 failed: \nWith that it is called. Then have istiod (revision canary) look after it, or nobody renews its CA:\n" +
				"kubectl label mutatingwebhookconfiguration/istio-sidecar-injector istio.io/rev=canary --overwrite$",
		}},
		{"at rest, and the tag is gone", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			for i := range w.config.Webhooks {
				never := &metav1.LabelSelector{MatchLabels: map[string]string{"istio.io/deactivated": "never-match"}}
				w.config.Webhooks[i].NamespaceSelector, w.config.Webhooks[i].ObjectSelector = never, never
			}
		}, []string{"HF231 warning: that tag is gone", "HF238 not-applicable: put it to rest"}},
		{"another port", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.service.Spec.Ports[1].Port = 8443
		}, []string{
			"HF233 failed: calls port 443 of Service istio-system/istiod, which has only 15012, 8443",
		}},
		{"the port of something else", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.slice = sliceOf("istiod", "https-webhook", 15012, "10.1.2.3")
		}, []string{"HF233 warning: leads to port 15012 of the pods; Istio serves its webhooks at 15017"}},
		{"a port by a name that is nowhere", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left, w.service.Spec.Ports[1].TargetPort = []string{"slice"}, intstr.FromString("webhook")
		}, []string{"HF233 failed: leads to a port called webhook that no pod has", "HF233 failed: \"path\":\"/spec/ports/1/targetPort\",\"value\":15017"}},
		{"no endpoints", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			none := int32(0)
			w.left, w.deployment.Spec.Replicas = []string{"slice"}, &none
		}, []string{"HF234 failed: has no ready endpoint: Deployment istiod is scaled to 0"}},
		{"endpoints that are not ready", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			no := false
			w.slice.Endpoints[0].Conditions.Ready = &no
		}, []string{"HF234 failed: the pods of Deployment istiod are not ready"}},
		{"no CA in one entry", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.config.Webhooks[2].ClientConfig.CABundle = nil
		}, []string{"HF235 failed: namespace.sidecar-injector.istio.io has no caBundle", "HF235 failed: Put in what rev.namespace.sidecar-injector.istio.io has"}},
		{"a CA that is none", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].ClientConfig.CABundle = []byte("x")
			}
		}, []string{"HF235 failed: all 4 entries have a caBundle without a certificate in it"}},
		{"a CA that expired", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.now = today.AddDate(11, 0, 0)
		}, []string{
			"HF235 failed: a CA that expired on 2036-09-01",
		}},
		{"a CA that is about to expire", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.now = today.AddDate(10, 0, -3)
			w.served.Certificate = nil
			w.dial = func(string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
		}, []string{"HF235 warning: expires on 2036-09-01, in 3d", "HF236 failed: refuses"}},
		{"the CA of another", func(t *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			_, _, other := authority(t, today.AddDate(1, 0, 0))
			w.config.Webhooks[1].ClientConfig.CABundle = other
		}, []string{"HF236 failed: x509: unknown authority", "HF236 failed: the caBundle of rev.object.sidecar-injector.istio.io of mutatingwebhookconfiguration/istio-sidecar-injector is istio-ca (sha256"}},
		{"a certificate for another name", func(t *testing.T, w *world, ca *x509.Certificate, key *ecdsa.PrivateKey) {
			w.served = serving(t, ca, key, "istiod-canary.istio-system.svc", today.AddDate(1, 0, 0))
		}, []string{"HF236 failed: for istiod-canary.istio-system.svc, the API server calls istiod.istio-system.svc"}},
		{"a certificate that expired", func(t *testing.T, w *world, ca *x509.Certificate, key *ecdsa.PrivateKey) {
			w.served = serving(t, ca, key, "istiod.istio-system.svc", today.AddDate(0, 0, -2))
		}, []string{"HF236 failed: expired on 2026-08-30"}},
		{"refused", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.dial = func(string) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} }
		}, []string{"HF236 failed: 10.1.2.3:15017 refuses the connection, tried from here"}},
		{"it hangs", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.hangs = true
		}, []string{"HF236 failed: 10.1.2.3:15017 takes connections and answers nothing within 2 s, tried from here: it hangs", "HF236 failed: rollout restart", "HF236 failed: Each pod that it selects waits up to", "HF236 failed: have the API server wait 1 s for it"}},
		{"it hangs, and is let through already", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			second := int32(1)
			w.hangs = true
			setPolicy(w, admissionregistrationv1.Ignore)
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].TimeoutSeconds = &second
			}
		}, []string{
			"HF236 failed: --tail=50\nIt has been let through already: the API server waits at most 1 s for all 4 entries, and goes on without what it adds. " +
				"If that was set for the time being, put back what was there before, once it answers again.$",
		}},
		{"it hangs, and one entry is let through already", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			second := int32(1)
			w.hangs = true
			setPolicy(w, admissionregistrationv1.Ignore)
			w.config.Webhooks[0].TimeoutSeconds = &second
		}, []string{
			`HF236 failed: put that back:` + "\n" + `kubectl patch mutatingwebhookconfiguration/istio-sidecar-injector --type=json -p '[{"op":"test","path":"/webhooks/1/name"`,
			"HF236 failed: waits at most 1 s for rev.namespace.sidecar-injector.istio.io, and goes on",
		}},
		{"dropped on the way from the API server alone", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.try = calling("context deadline exceeded")
			w.more = append(w.more, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"cloud.google.com/gke-nodepool": "p"}}})
		}, []string{"HF238 failed: no answer from port 15017 of the pods of Service istio-system/istiod, other pods do: a firewall", "HF238 failed: --allow tcp:15017"}},
		{"dropped for everybody", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.try = calling("context deadline exceeded")
			w.dial = func(string) (net.Conn, error) { return nil, os.ErrDeadlineExceeded }
		}, []string{"HF236 warning: no answer from 10.1.2.3:15017", "HF238 failed: no answer from port 15017"}},
		{"somebody else's webhook comes first", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.try = func(*corev1.Pod) (*corev1.Pod, error) {
				return nil, apierrors.NewInternalError(errors.New(`failed calling webhook "a.example.com": failed to call webhook: EOF`))
			}
		}, []string{"HF238 unknown: another webhook keeps the probe's pod out"}},
		{"refused by Pod Security afterwards", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.try = func(*corev1.Pod) (*corev1.Pod, error) {
				return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New(`violates PodSecurity "baseline:latest"`))
			}
		}, []string{"HF238 passed: somebody else refused later"}},
		{"failing open, and refused afterwards", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			setPolicy(w, admissionregistrationv1.Ignore)
			w.try = func(*corev1.Pod) (*corev1.Pod, error) {
				w.raw["/metrics"] = "process_start_time_seconds 1\n" +
					`apiserver_admission_webhook_fail_open_count{name="namespace.sidecar-injector.istio.io",type="admit"} 1` + "\n"
				return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New(`exceeded quota: small`))
			}
		}, []string{"HF238 failed: fail_open_count has grown"}},
		{"an old outage, and an answer", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.raw["/metrics"] = metricsOf("namespace.sidecar-injector.istio.io", 3, 3)
		}, []string{"HF239 passed: one has just been answered"}},
		{"a name outside of the cluster", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left = []string{"slice", "deployment"}
			w.service.Spec.Type, w.service.Spec.Selector, w.service.Spec.ExternalName = corev1.ServiceTypeExternalName, nil, "istiod.example.com"
		}, []string{"HF234 not-applicable: is a name outside of the cluster"}},
		{"a name outside of the cluster, which the API server cannot resolve", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left = []string{"slice", "deployment"}
			w.service.Spec.Type, w.service.Spec.Selector, w.service.Spec.ExternalName = corev1.ServiceTypeExternalName, nil, "istiod.example.com"
			w.try = calling("dial tcp: lookup istiod.example.com: no such host")
		}, []string{
			"HF238 failed: the API server cannot resolve istiod.example.com, the name that Service istio-system/istiod stands for",
			"HF238 failed: \nOr write the right name into spec.externalName of the Service:\nkubectl -n istio-system edit service istiod$",
		}},
		{"no right to create pods", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.try = func(*corev1.Pod) (*corev1.Pod, error) {
				return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New(`User "jane" cannot create resource "pods" in API group "" in the namespace "shop"`))
			}
		}, []string{"HF238 unknown: a right is missing", "HF238 unknown: create pods in namespace shop"}},
		{"the injector itself refuses", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.try = func(*corev1.Pod) (*corev1.Pod, error) {
				return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New(`admission webhook "namespace.sidecar-injector.istio.io" denied the request: no`))
			}
		}, []string{"HF238 passed: it answered"}},
		{"left alone, failing closed", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) { w.try = untouched }, []string{"HF238 passed: left it alone"}},
		{"let through, failing open", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			setPolicy(w, admissionregistrationv1.Ignore)
			w.try = func(pod *corev1.Pod) (*corev1.Pod, error) {
				w.raw["/metrics"] = "process_start_time_seconds 1\n" +
					`apiserver_admission_webhook_fail_open_count{name="namespace.sidecar-injector.istio.io",type="admit"} 1` + "\n"
				return pod, nil
			}
		}, []string{
			"HF231 passed: failurePolicy Ignore: without an answer the pods that it selects start without what it adds",
			"HF238 failed: fail_open_count has grown",
		}},
		{"left alone, failing open, and counted", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			setPolicy(w, admissionregistrationv1.Ignore)
			w.try = func(pod *corev1.Pod) (*corev1.Pod, error) {
				w.raw["/metrics"] = "process_start_time_seconds 1\n" +
					`apiserver_admission_webhook_request_total{code="200",name="namespace.sidecar-injector.istio.io",operation="CREATE",rejected="false",type="admit"} 1` + "\n"
				return pod, nil
			}
		}, []string{"HF238 passed: was called for a dry-run pod"}},
		{"left alone, failing open, and nothing to see", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			setPolicy(w, admissionregistrationv1.Ignore)
			w.try = untouched
			delete(w.raw, "/metrics")
			w.raw["/api/v1/namespaces/istio-system/services/https:istiod:443/proxy/inject"] = "?"
		}, []string{"HF238 passed: its Service answers the API server", "HF239 unknown: get /metrics"}},
		{"URLs that differ", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			byURL(w, "https://127.0.0.1:15017/inject")
			other := "https://127.0.0.2:15017/inject"
			w.config.Webhooks[1].ClientConfig.URL = &other
		}, []string{"HF232 warning: call different places: https://127.0.0.1:15017/inject, and https://127.0.0.2:15017/inject for rev.object", "HF236 not-applicable: own machine"}},
		{"a URL that does not resolve", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			byURL(w, "https://gone.example.com/inject")
			w.dial = func(string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "gone.example.com", IsNotFound: true}}
			}
		}, []string{"HF232 failed: host gone.example.com does not resolve (no such host), asked from a pod of Holdfast's"}},
		{"a URL that does not resolve here, nor there", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			byURL(w, "https://gone.example.com/inject")
			w.outside = true
			w.dial = func(string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "gone.example.com", IsNotFound: true}}
			}
			w.try = calling("dial tcp: lookup gone.example.com: no such host")
		}, []string{"HF232 warning: asked from the machine on which this runs", "HF238 failed: the API server cannot resolve the name in https://gone.example.com/inject", "HF236 unknown: "}},
		{"a URL of the cluster's DNS", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			byURL(w, "https://istiod.istio-system.svc:443/inject")
		}, []string{"HF232 warning: Call Service istio-system/istiod of this cluster instead (if Istio runs elsewhere on purpose, have the name resolve for the control plane's machines, which do not ask the cluster's DNS):\nkubectl patch"}},
		{"a URL of the cluster's DNS, of a revision that nobody looks after", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			byURL(w, "https://istiod.istio-system.svc:443/inject")
			w.deployment.Spec.Template.Labels["istio.io/rev"] = "canary"
		}, []string{
			"HF232 warning: \nWith that it is called. Then have istiod (revision canary) look after it, or nobody renews its CA:\nkubectl label mutatingwebhookconfiguration/istio-sidecar-injector istio.io/rev=canary --overwrite$",
		}},
		{"an old default beside a new one", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.more = append(w.more, istioConfig("istio-default", "default", w.config.Webhooks[0].ClientConfig.CABundle))
		}, []string{"HF237 warning: are sent to mutatingwebhookconfiguration/istio-default and to mutatingwebhookconfiguration/istio-sidecar-injector"}},
		{"a revision beside the default", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.more = append(w.more, istioConfig("istio-sidecar-injector-canary", "canary", w.config.Webhooks[0].ClientConfig.CABundle))
		}, []string{"HF237 passed: "}},
		{"all calls failed", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.try = nil
			w.raw["/metrics"] = "process_start_time_seconds 1\n" +
				`apiserver_admission_webhook_request_total{code="500",name="namespace.sidecar-injector.istio.io",operation="CREATE",rejected="true",type="admit"} 3` + "\n" +
				`apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="namespace.sidecar-injector.istio.io",operation="CREATE",rejection_code="0",type="admit"} 3` + "\n"
		}, []string{"HF239 failed: 3 of 3 calls failed since the API server started", "HF239 failed: TCP 15017 (the pods of Service"}},
		{"calls failed, and it may be another's", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.try = nil
			other := istioConfig("istio-sidecar-injector-canary", "canary", nil)
			for i := range other.Webhooks {
				other.Webhooks[i].ClientConfig.Service.Name = "istiod-canary"
			}
			w.more = append(w.more, other)
			w.raw["/metrics"] = metricsOf("rev.namespace.sidecar-injector.istio.io", 3, 3)
		}, []string{"HF239 warning: 3 of 3 calls failed since the API server started", "HF239 warning: and in mutatingwebhookconfiguration/istio-sidecar-injector-canary", "HF231 passed: "}},
		{"calls failed, and it is not another's", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.try = nil
			w.more = append(w.more, istioConfig("istio-sidecar-injector-canary", "canary", w.config.Webhooks[0].ClientConfig.CABundle))
			w.raw["/metrics"] = metricsOf("rev.namespace.sidecar-injector.istio.io", 3, 3)
		}, []string{"HF239 failed: 3 of 3 calls failed since the API server started"}},
		{"calls failed once", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			key := counted("namespace.sidecar-injector.istio.io")
			for i := range w.config.Webhooks {
				w.calls.turn(counted(w.config.Webhooks[i].Name), callCount{}, today.Add(-time.Hour))
			}
			w.calls.turn(key, callCount{all: 9, closed: 3}, today.Add(-50*time.Minute))
			w.calls.turn(key, callCount{all: 11, closed: 3}, today.Add(-time.Minute))
			w.raw["/metrics"] = metricsOf(key.name, 12, 3)
		}, []string{"HF239 passed: no call failed in the last 50m"}},
		{"calls fail again", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			for i := range w.config.Webhooks {
				w.calls.turn(counted(w.config.Webhooks[i].Name), callCount{all: 9, closed: 3}, today.Add(-time.Minute))
			}
			w.raw["/metrics"] = metricsOf("namespace.sidecar-injector.istio.io", 12, 5)
			w.config.Webhooks = w.config.Webhooks[2:3]
		}, []string{"HF239 failed: 2 of 3 calls failed in the last 60s"}},
		{"a revision that is gone, and another that is there", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.gone("canary", map[string]string{"istio.io/rev": "canary"}, nil)
		}, []string{
			"HF231 failed: revision canary: mutatingwebhookconfiguration/istio-sidecar-injector-canary calls Service istio-system/istiod-canary, which does not exist; namespaces web, web2 ask for it",
			"HF231 failed: kubectl label namespace -l istio.io/rev=canary istio.io/rev=default --overwrite\nLook first",
			"HF231 failed: kubectl get mutatingwebhookconfiguration/istio-sidecar-injector-canary -o yaml > istio-sidecar-injector-canary-$(date +%m%d-%H%M%S).yaml && kubectl delete mutatingwebhookconfiguration/istio-sidecar-injector-canary",
			"HF231 failed: kubectl -n web rollout restart deployment\nkubectl -n web2 rollout restart deployment",
			"HF231 failed: istioctl install --revision canary",
		}},
		{"a revision that is gone, for which no namespace asks", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			there := w.namespaces
			w.gone("stale", map[string]string{"istio.io/rev": "stale"}, nil)
			w.namespaces = there
		}, []string{
			"HF231 failed: which does not exist; no namespace asks for it",
			"HF231 failed: Meanwhile only pods whose workload's own template carries istio.io/rev=stale are refused (failurePolicy Fail; FailedCreate on their ReplicaSets).",
			"HF231 failed: Delete it, with a copy kept in this directory:\nkubectl get mutatingwebhookconfiguration/istio-sidecar-injector-stale -o yaml > istio-sidecar-injector-stale-$(date +%m%d-%H%M%S).yaml && kubectl delete mutatingwebhookconfiguration/istio-sidecar-injector-stale\nIf it should be here instead, install it:\nistioctl install --revision stale",
			`HF231 failed: kubectl get deploy,sts,ds,cronjobs,jobs -A -o jsonpath='{range .items[?(@..template.metadata.labels.istio\.io/rev=="stale")]}{.kind}{"\t"}{.metadata.namespace}/{.metadata.name}{"\n"}{end}'` +
				"\nDelete it",
		}},
		{"a default that is gone, for which no namespace asks", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left, w.namespaces = []string{"service", "deployment", "slice"}, w.namespaces[:2]
			setPolicy(w, admissionregistrationv1.Ignore)
		}, []string{
			"HF231 failed: Meanwhile only pods whose workload's own template carries istio.io/rev=default or sidecar.istio.io/inject=true start without what it adds, and nobody gets an error (failurePolicy Ignore).",
			`HF231 failed: [?(@..template.metadata.labels.sidecar\.istio\.io/inject=="true")]`,
		}},
		{"a revision that is gone, for which a namespace asks", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.gone("canary", map[string]string{"istio.io/rev": "canary"}, nil)
		}, []string{"HF231 failed: Meanwhile the pods that it selects are refused"}},
		{"a revision that is gone, with a chart that keeps it", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.gone("canary", map[string]string{"istio.io/rev": "canary"}, map[string]string{"meta.helm.sh/release-name": "istiod-canary", "meta.helm.sh/release-namespace": "istio-system"})
		}, []string{"HF231 failed: Helm release istio-system/istiod-canary wrote it: change its values too"}},
		{"a tag of a revision that is gone, and another that is there", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.gone("prod", map[string]string{"istio.io/rev": "canary", "istio.io/tag": "prod"}, nil)
		}, []string{
			"HF231 failed: kubectl label mutatingwebhookconfiguration/istio-sidecar-injector-prod istio.io/rev=default --overwrite\nkubectl patch",
			`HF231 failed: {"op":"replace","path":"/webhooks/0/clientConfig/service/name","value":"istiod"}`,
			"HF231 failed: istioctl tag set prod --revision default --overwrite",
		}},
		{"a Service that is gone, and its Deployment is not", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left, w.deployment.Labels = []string{"service", "slice"}, map[string]string{"app": "istiod"}
		}, []string{
			"HF231 failed: which does not exist, though Deployment istiod still does",
			"HF231 failed: kubectl -n istio-system expose deployment istiod --name=istiod --port=443 --target-port=15017",
		}},
		{"a Service that is gone, whose chart can write it again", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.left, w.deployment.Labels = []string{"service", "slice"}, map[string]string{"app": "istiod"}
			w.deployment.Annotations = map[string]string{"meta.helm.sh/release-name": "istiod", "meta.helm.sh/release-namespace": "istio-system"}
		}, []string{"HF231 failed: Have Helm release istio-system/istiod write it again:\nhelm -n istio-system get manifest istiod | kubectl -n istio-system apply -f -\nOr make it as far as the webhook needs it, until that is possible"}},
		{"a URL that does not resolve, and something calls itself istiod", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			byURL(w, "https://gone.example.com/inject")
			w.deployment.Labels = map[string]string{"app": "istiod"}
			w.dial = func(string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "gone.example.com", IsNotFound: true}}
			}
		}, []string{
			"HF232 failed: all 4 entries of mutatingwebhookconfiguration/istio-sidecar-injector: host gone.example.com does not resolve",
			"HF232 failed: If Istio runs in this cluster, have its installer write the configuration again", // not that of anybody's Deployment
		}},
		{"no port that leads to the webhook", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.service.Spec.Ports = w.service.Spec.Ports[:1]
		}, []string{`HF233 failed: kubectl -n istio-system patch service istiod --type=json -p '[{"op":"add","path":"/spec/ports/-","value":{"name":"webhook-443","port":443,"targetPort":15017}}]'`}},
		{"no port that leads to the webhook, and one without a name", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.service.Spec.Ports = w.service.Spec.Ports[:1]
			w.service.Spec.Ports[0].Name = ""
		}, []string{`HF233 failed: "targetPort":15017}},{"op":"add","path":"/spec/ports/0/name","value":"port-15012"}]'`}},
		{"a pod that crashes", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.more = append(w.more, crashing())
			w.dial = func(string) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} }
		}, []string{
			"HF236 failed: refuses the connection, tried from here: pod istiod-abc has been restarted (7 times, last 2m ago: OOMKilled, exit code 137)",
			"HF236 failed: Raise the memory limit of Deployment istiod",
		}},
		{"a pod that has crashed, and is ready again", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			pod := crashing()
			pod.Status.ContainerStatuses[0].Ready, pod.Status.ContainerStatuses[0].State.Running = true, &corev1.ContainerStateRunning{}
			w.more = append(w.more, pod)
			w.dial = func(string) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} }
		}, []string{"HF236 failed: though its pod is ready"}},
		{"a pod that ends with an error", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			pod := crashing()
			pod.Status.ContainerStatuses[0].LastTerminationState.Terminated.Reason = "Error"
			w.more = append(w.more, pod)
			w.dial = func(string) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} }
		}, []string{"HF236 failed: kubectl -n istio-system logs istiod-abc --previous --tail=50"}},
		{"a pod that is ready, and an address that refuses", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			pod := crashing()
			pod.Status.ContainerStatuses = nil
			w.more = append(w.more, pod)
			w.dial = func(string) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} }
		}, []string{"HF236 failed: though its pod is ready"}},
		{"a pod that crashes, asked from a laptop", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.more = append(w.more, crashing())
			w.outside, w.report, w.dial = true, &Report{Probes: []Line{{Code: certificateCode, Object: istioObject, State: Failed, Message: "10.1.2.3:15017 refuses the connection", Fix: "Look."}}}, nil
		}, []string{"HF236 failed: 10.1.2.3:15017 refuses the connection; pod istiod-abc has been restarted (7 times", "HF236 failed: Raise the memory limit of Deployment istiod"}},
		{"a pod that crashes, asked from a laptop, told with another configuration", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.more = append(w.more, crashing())
			w.outside, w.report, w.dial = true, &Report{Probes: []Line{{Code: certificateCode, Object: istioObject, State: Failed, Message: "10.1.2.3:15017 refuses the connection", Fix: elsewhere + "HF236 of another."}}}, nil
		}, []string{"HF236 failed: \n" + elsewhere + "HF236 of another.$"}},
		{"rejected on the way from the API server alone", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.try = calling("dial tcp 10.1.2.3:15017: connect: connection refused")
		}, []string{"HF238 failed: a firewall between the control plane and the nodes rejects the connection to port 15017 of the pods of Service istio-system/istiod: other pods get an answer there"}},
		{"a pod that crashes, and the API server says refused", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.more = append(w.more, crashing())
			w.outside, w.dial, w.try = true, nil, calling("dial tcp 10.1.2.3:15017: connect: connection refused")
		}, []string{"HF236 unknown: only the server", "HF238 failed: nothing listens at port 15017 of the pods of Service istio-system/istiod: pod istiod-abc has been restarted"}},
		{"the CA of another, and istiod keeps its own", func(t *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			_, _, other := authority(t, today.AddDate(1, 0, 0))
			w.keepsCA()
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].ClientConfig.CABundle = other
			}
		}, []string{
			`HF236 failed: ca=$(kubectl -n istio-system get configmap istio-ca-root-cert -o jsonpath='{.data.root-cert\.pem}' | base64 | tr -d '\n')` + "\n" + `test -n "$ca" && kubectl patch`,
			"HF236 failed: the caBundle of all 4 entries of mutatingwebhookconfiguration/istio-sidecar-injector is istio-ca (sha256",
		}},
		{"the CA of another, and calls failed", func(t *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			_, _, other := authority(t, today.AddDate(1, 0, 0))
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].ClientConfig.CABundle = other
			}
			w.try, w.raw["/metrics"] = nil, metricsOf("namespace.sidecar-injector.istio.io", 3, 3)
		}, []string{"HF236 failed: ", "HF238 not-applicable: ", "HF239 skipped: skipped because HF236 failed"}},
		{"the CA of another, and the ConfigMap has another, too", func(t *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			_, _, other := authority(t, today.AddDate(1, 0, 0))
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].ClientConfig.CABundle = other
			}
			w.keepsCA()
		}, []string{"HF236 failed: Deployment istiod puts it in whenever it starts:\nkubectl -n istio-system rollout restart deploy/istiod"}},
		{"no CA, of a revision that nobody looks after", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.keepsCA()
			w.deployment.Spec.Template.Labels["istio.io/rev"] = "canary"
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].ClientConfig.CABundle = nil
			}
		}, []string{
			"HF231 warning: kubectl label mutatingwebhookconfiguration/istio-sidecar-injector istio.io/rev=canary --overwrite",
			"HF235 failed: \nDo what HF231 says above: istiod then puts its CA in by itself.$",
		}},
		{"no CA, which cert-manager should put in", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.config.Annotations = map[string]string{"cert-manager.io/inject-ca-from": "istio-system/istiod-webhook"}
			for i := range w.config.Webhooks {
				w.config.Webhooks[i].ClientConfig.CABundle = nil
			}
		}, []string{
			"HF235 failed: secret=$(kubectl -n istio-system get certificate istiod-webhook -o jsonpath='{.spec.secretName}')",
			`HF235 failed: ca=$(test -n "$secret" && kubectl -n istio-system get secret "$secret" -o jsonpath='{.data.ca\.crt}')`,
		}},
		{"no CA, with Argo CD", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.keepsCA()
			w.config.Labels["argocd.argoproj.io/instance"] = "mesh"
			w.config.Webhooks[0].ClientConfig.CABundle = nil
		}, []string{"HF235 failed: Argo CD application mesh keeps the configuration: have it leave caBundle alone"}},
		{"refused, failing open", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			setPolicy(w, admissionregistrationv1.Ignore)
			w.try = calling("dial tcp 10.1.2.3:15017: connect: connection refused")
		}, []string{
			"HF231 passed: failurePolicy Ignore", "HF238 failed: nobody gets an error (failurePolicy Ignore)",
			"HF238 failed: kubectl -n shop get pods -o custom-columns=", "HF238 failed: | grep -v istio-proxy", "HF238 failed: kubectl -n shop rollout restart deployment",
		}},
		{"one default that nobody runs", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			old := istioConfig("istio-old", "old", w.config.Webhooks[0].ClientConfig.CABundle)
			old.CreationTimestamp = metav1.NewTime(today.AddDate(0, 0, -40))
			for i := range old.Webhooks {
				old.Webhooks[i].NamespaceSelector, old.Webhooks[i].ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"istio-injection": "enabled"}}, nil
			}
			w.deployment.Spec.Template.Labels["istio.io/rev"] = "default"
			w.more = append(w.more, old)
		}, []string{
			"HF237 warning: Known of mutatingwebhookconfiguration/istio-old: Istio, revision old; its revision is not what runs behind Service istio-system/istiod (default); 40d old.",
			"HF237 warning: What is too much is mutatingwebhookconfiguration/istio-old. Keep a copy and delete it:\nkubectl get", "HF237 warning: Nothing has to be done tonight. Pods start",
		}},
		{"asked from a laptop", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.outside, w.report = true, &Report{Probes: []Line{{Code: certificateCode, Object: "another"}, {Code: certificateCode, Object: istioObject, State: Warning, Message: "so it says"}}}
			w.dial = nil
		}, []string{"HF236 warning: so it says", "HF238 passed: acted"}},
		{"asked from a laptop, nobody inside", func(_ *testing.T, w *world, _ *x509.Certificate, _ *ecdsa.PrivateKey) {
			w.outside, w.dial = true, nil
		}, []string{"HF236 unknown: only the server", "HF238 passed: acted"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, ca, key := istiod(t)
			test.edit(t, w, ca, key)
			lines := w.ask(t.Context())
			named := map[string]bool{}
			about := cmp.Or(w.about, istioObject)
			for _, want := range test.want {
				code, rest, _ := strings.Cut(want, " ")
				state, words, _ := strings.Cut(rest, ": ")
				named[code] = true
				at := slices.IndexFunc(lines, func(l Line) bool { return l.Code == code && l.Object == about })
				if at < 0 || string(lines[at].State) != state || !strings.Contains(lines[at].Message+"\n"+lines[at].Effect+"\n"+lines[at].Fix+"$", words) {
					t.Errorf("want %s", want)
				}
			}
			for i := range lines {
				l := &lines[i]
				checkFix(t, &Result{State: l.State, Message: l.Message, Fix: l.Fix})
				if strings.Contains("\n"+l.Fix, "\nOr,") { // a line that begins another way begins with a word, which test/repair goes by
					t.Errorf("%s: got a comma behind Or:\n%s", l.Code, l.Fix)
				}
				switch l.State {
				case Failed, Warning, Unknown:
					if l.Object == about && !named[l.Code] {
						t.Errorf("got %s %s, want nothing else as a cause", l.Code, l.State)
					}
					if n := len([]rune(first(l.Message))); n > 256 {
						t.Errorf("%s: the message has %d characters, want 256 at most", l.Code, n)
					}
				case Passed, Skipped, NotApplicable:
				}
			}
			t.Log(show(slices.DeleteFunc(slices.Clone(lines), func(l Line) bool {
				return !t.Failed() && (l.State == Passed || l.State == Skipped || l.State == NotApplicable)
			})))
		})
	}
}

func metricsOf(name string, all, closed int) string {
	return fmt.Sprintf(`process_start_time_seconds 1
apiserver_admission_webhook_request_total{code="200",name=%[1]q,operation="CREATE",rejected="false",type="admit"} %[2]d
apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name=%[1]q,operation="CREATE",rejection_code="0",type="admit"} %[3]d
apiserver_admission_webhook_rejection_count{error_type="no_error",name=%[1]q,operation="CREATE",rejection_code="403",type="admit"} 4
`, name, all, closed)
}

// TestInjectorsToldHere: nothing points to the line of another configuration that is skipped, or says something else.
func TestInjectorsToldHere(t *testing.T) {
	t.Parallel()
	refuse := func(string) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} }
	tests := []struct {
		name, code, other, begins string // other is what the other line is
		edit                      func(*testing.T, *world)
	}{
		{"skipped for its CA", certificateCode, "skipped", "Look at its pods, and at what they say:", func(_ *testing.T, w *world) {
			w.dial, w.config.Webhooks[1].ClientConfig.CABundle = refuse, nil
		}},
		{"about its CA", certificateCode, "failed", "Start it anew, and keep what it has said (in this directory):", func(t *testing.T, w *world) {
			_, _, other := authority(t, today.AddDate(1, 0, 0))
			w.hangs, w.config.Webhooks[1].ClientConfig.CABundle = true, other
		}},
		{"skipped for another Service", "HF234", "skipped", "Scale it up, unless somebody has switched it off on purpose (two, so that one may be missing):", func(_ *testing.T, w *world) {
			none := int32(0)
			w.left, w.deployment.Spec.Replicas = []string{"slice"}, &none
			w.config.Webhooks[1].ClientConfig.Service.Name = "istiod-gone"
		}},
		{"skipped for another Service", "HF233", "skipped", "The webhook is served at port 15017 of the pods. Have the Service lead there:", func(_ *testing.T, w *world) {
			w.left, w.service.Spec.Ports[1].TargetPort = []string{"slice"}, intstr.FromInt32(15999)
			w.config.Webhooks[1].ClientConfig.Service.Name = "istiod-gone"
		}},
	}
	for _, test := range tests {
		t.Run(test.code+" "+test.name, func(t *testing.T) {
			t.Parallel()
			const validator = "ValidatingWebhookConfiguration/istio-validator-istio-system"
			w, _, _ := istiod(t)
			w.more = append(w.more, &admissionregistrationv1.ValidatingWebhookConfiguration{
				ObjectMeta: metav1.ObjectMeta{Name: "istio-validator-istio-system"},
				Webhooks:   []admissionregistrationv1.ValidatingWebhook{{Name: "rev.validation.istio.io", ClientConfig: *w.config.Webhooks[0].ClientConfig.DeepCopy()}},
			})
			test.edit(t, w)
			lines := w.ask(t.Context())
			of := func(object string) *Line {
				at := slices.IndexFunc(lines, func(l Line) bool { return l.Code == test.code && l.Object == object })
				if at < 0 {
					t.Fatalf("got nothing about %s", object)
				}
				return &lines[at]
			}
			if l := of(istioObject); string(l.State) != test.other {
				t.Errorf("%s: got %s, want %s", l.Object, l.State, test.other)
			}
			if l := of(validator); l.State != Failed || first(l.Fix) != test.begins {
				t.Errorf("%s: got %s, %q, want %q first", l.Object, l.State, l.Fix, test.begins)
			}
		})
	}
}

// TestInjectorsTriedLate: a try that begins late ends before the time is over, and says how long it waited.
func TestInjectorsTriedLate(t *testing.T) {
	t.Parallel()
	w, _, _ := istiod(t)
	var groups []Group
	for _, g := range Groups() {
		if g.Name == "injectors" {
			groups = append(groups, g)
		}
	}
	s := w.subject()
	s.TryPod = func(ctx context.Context, _ *corev1.Pod) (*corev1.Pod, []string, error) {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	const most = 3700 * time.Millisecond // which leaves about 3 s
	r := run(t.Context(), s, groups, most)
	at := slices.IndexFunc(r.Probes, func(l Line) bool { return l.Code == "HF238" && l.Object == istioObject })
	if at < 0 {
		t.Fatal("got no HF238")
	}
	const want = "got no answer within 3 s: one of the webhooks for pods is slow, or hangs; this one is given 10 s"
	if l := &r.Probes[at]; l.State != Warning || !strings.Contains(l.Message, want) || !strings.Contains(l.Fix, "--dry-run=server") {
		t.Errorf("got %s: %s\n%s\nwant %s", l.State, l.Message, l.Fix, want)
	}
}

// TestManyInjectors: many revisions are asked about up to a limit, and what is left out is named.
func TestManyInjectors(t *testing.T) {
	t.Parallel()
	w, _, _ := istiod(t)
	for i := range 30 {
		name := fmt.Sprintf("r%02d", i)
		w.more = append(w.more, istioConfig("istio-sidecar-injector-"+name, name, w.config.Webhooks[0].ClientConfig.CABundle))
	}
	began := time.Now()
	lines := w.ask(t.Context())
	objects := map[string]bool{}
	for i := range lines {
		objects[lines[i].Object] = true
		if l := &lines[i]; l.State != Passed && l.State != NotApplicable && l.Object != "11 more webhook configurations" {
			t.Errorf("%s %s: got %s: %s", l.Code, l.Object, l.State, l.Message)
		}
	}
	if got, want := len(objects), mostNeighbours+1; got != want || !objects["11 more webhook configurations"] {
		t.Errorf("got %d objects, want %d", got, want)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("took %s, want at most 15 s", took)
	}
}

// TestNoInjectors: what is not there does not apply.
func TestNoInjectors(t *testing.T) {
	t.Parallel()
	w, _, _ := istiod(t)
	w.left = []string{"config"}
	for _, l := range w.ask(t.Context()) {
		if l.State != NotApplicable || l.Object != "" {
			t.Errorf("%s %s: got %s, want not applicable", l.Code, l.Object, l.State)
		}
	}
}

// TestValidatingOfInjectors: istiod's validating configurations are asked about too, those of a removed revision most of all.
func TestValidatingOfInjectors(t *testing.T) {
	t.Parallel()
	w, _, _ := istiod(t)
	of := func(name, service string) *admissionregistrationv1.ValidatingWebhookConfiguration {
		from := &w.config.Webhooks[0]
		client := *from.ClientConfig.DeepCopy()
		client.Service.Name = service
		return &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.ValidatingWebhook{
			{Name: "rev.validation.istio.io", ClientConfig: client},
		}}
	}
	w.more = append(w.more, of("istio-validator-istio-system", "istiod"), of("istio-validator-canary-istio-system", "istiod-canary"))
	got := map[string]string{}
	lines := w.ask(t.Context())
	for _, l := range lines {
		if strings.HasPrefix(l.Object, "Validating") {
			got[l.Object] += " " + string(l.State)
		}
	}
	want := map[string]string{
		"ValidatingWebhookConfiguration/istio-validator-istio-system":        strings.Repeat(" passed", 6) + strings.Repeat(" not-applicable", 2) + " passed",
		"ValidatingWebhookConfiguration/istio-validator-canary-istio-system": " failed" + strings.Repeat(" skipped", 8),
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: got%s, want%s\n%s", name, got[name], want[name], show(lines))
		}
	}
}

// TestToldOnce: what is wrong with one Service is to be put right once, though two configurations call it.
func TestToldOnce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code, begins string
		edit         func(*world)
	}{
		{"HF233", "The webhook is served at port 15017 of the pods. Have the Service lead there:", func(w *world) {
			w.left, w.service.Spec.Ports[1].TargetPort = []string{"slice"}, intstr.FromInt32(15999)
		}},
		{certificateCode, "Look at its pods, and at what they say:", func(w *world) {
			w.dial = func(string) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} }
		}},
	}
	for _, test := range tests {
		t.Run(test.code, func(t *testing.T) {
			t.Parallel()
			w, _, _ := istiod(t)
			test.edit(w)
			w.more = append(w.more, &admissionregistrationv1.ValidatingWebhookConfiguration{
				ObjectMeta: metav1.ObjectMeta{Name: "istio-validator-istio-system"},
				Webhooks:   []admissionregistrationv1.ValidatingWebhook{{Name: "rev.validation.istio.io", ClientConfig: *w.config.Webhooks[0].ClientConfig.DeepCopy()}},
			})
			want := map[string]string{
				istioObject: test.begins,
				"ValidatingWebhookConfiguration/istio-validator-istio-system": "What to do is the same, and stands at " + test.code + " of " + istioObject + ".",
			}
			for _, l := range w.ask(t.Context()) {
				if l.Code != test.code {
					continue
				}
				if l.State != Failed || first(l.Fix) != want[l.Object] {
					t.Errorf("%s: got %s, %q, want %q", l.Object, l.State, l.Fix, want[l.Object])
				}
				delete(want, l.Object)
			}
			if len(want) > 0 {
				t.Errorf("got nothing about %v", want)
			}
		})
	}
}
