package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"holdfast.dev/holdfast/config"
)

// uid is that of every review in these tests.
const uid = types.UID("0df28fbd-5f5f-11e8-bc74-36e6bb280816")

// edge is the admission edge in front of an API server that is played.
type edge struct {
	client   *fake.Clientset
	cluster  *Cluster
	reviewer *reviewer
	metrics  *metrics
	url      string
	logged   *safeBuffer
	draining atomic.Bool
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) add(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.WriteString(line + "\n")
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *safeBuffer) logger() logr.Logger {
	return funcr.NewJSON(s.add, funcr.Options{Verbosity: 1})
}

// edgeOptions say what is unusual about an edge.
type edgeOptions struct {
	config  string
	audit   bool
	unread  bool // the cluster is not read at all
	objects []runtime.Object
	prepare func(*fake.Clientset)
}

// newEdge serves, with a namespace for every mode that bears the mode's name, and one without a label, "plain".
func newEdge(t *testing.T, o edgeOptions) *edge {
	t.Helper()
	c, err := config.Load([]byte("{}\n" + o.config))
	if o.config != "" {
		c, err = config.Load([]byte(o.config))
	}
	if err != nil {
		t.Fatal(err)
	}
	objects := append([]runtime.Object{namespace("plain", nil)}, o.objects...)
	for _, mode := range []string{"off", "audit", "warn", "enforce", "bogus"} {
		objects = append(objects, namespace(mode, map[string]string{config.ModeLabel: mode}))
	}
	e := &edge{client: fake.NewClientset(objects...), metrics: newMetrics(), logged: &safeBuffer{}}
	if o.prepare != nil {
		o.prepare(e.client)
	}
	catalogue := c.Catalogue()
	known := Knowledge{Catalogue: catalogue, Override: c.Override, MeshNamespaces: c.MeshNamespaces}
	self := types.NamespacedName{Namespace: "holdfast-system", Name: "holdfast"}
	if e.cluster, err = NewCluster(e.logged.logger(), e.client, known, self); err != nil {
		t.Fatal(err)
	}
	e.cluster.liveLooks = e.metrics.lookups.WithLabelValues("live").Inc
	e.cluster.failedLooks = e.metrics.lookups.WithLabelValues("failed").Inc
	if !o.unread {
		e.read(t)
	}
	e.reviewer = newReviewer(e.logged.logger(), e.cluster, c, catalogue, o.audit, self.Namespace, e.metrics, time.Now)
	mux := http.NewServeMux()
	for path, handler := range e.reviewer.handlers(&e.draining) {
		mux.Handle(path, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

// read starts the informers and waits until they are ready.
func (e *edge) read(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.cluster.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	eventually(t, e.cluster.Ready)
}

// eventually waits until check passes.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("still: %v", err)
		case <-again.C:
		}
	}
}

func namespace(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, UID: types.UID("uid-" + name), ResourceVersion: "1"}}
}

// post sends a body and returns the API server's view of the answer.
func (e *edge) post(t *testing.T, path string, body []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	raw, err := e.send(t.Context(), path, body)
	if err != nil {
		t.Fatal(err)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(raw, &review); err != nil {
		t.Fatalf("answer %q: %v", raw, err)
	}
	if review.Response == nil {
		t.Fatalf("no response in %q", raw)
	}
	return review.Response
}

func (e *edge) send(ctx context.Context, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(res.Body)
	return raw, errors.Join(err, res.Body.Close())
}

// review sends an object for review and checks what every answer must have.
func (e *edge) review(t *testing.T, path string, r admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	t.Helper()
	out := e.post(t, path, body(t, r))
	if out.UID != uid {
		t.Errorf("UID: got %q, want %q", out.UID, uid)
	}
	if len(out.Patch) > 0 && (out.PatchType == nil || *out.PatchType != admissionv1.PatchTypeJSONPatch) {
		t.Errorf("patch without its type")
	}
	if !out.Allowed && len(out.Warnings) > 0 {
		t.Errorf("warnings beside a refusal: %q", out.Warnings)
	}
	if len(out.Warnings) > 5 {
		t.Errorf("got %d warnings, want at most 5", len(out.Warnings))
	}
	for _, w := range out.Warnings {
		if n := len([]rune(w)); n > 256 {
			t.Errorf("a warning of %d runes: %s", n, w)
		}
	}
	return out
}

func body(t *testing.T, r admissionv1.AdmissionRequest) []byte {
	t.Helper()
	out, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: &r,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// creation is the request to create an object.
func creation(namespace, group, resource, kind string, raw []byte) admissionv1.AdmissionRequest {
	return admissionv1.AdmissionRequest{
		UID: uid, Operation: admissionv1.Create, Namespace: namespace,
		Kind:     metav1.GroupVersionKind{Group: group, Version: "v1", Kind: kind},
		Resource: metav1.GroupVersionResource{Group: group, Version: "v1", Resource: resource},
		Object:   runtime.RawExtension{Raw: raw},
	}
}

func podCreation(namespace string, raw []byte) admissionv1.AdmissionRequest {
	return creation(namespace, "", "pods", "Pod", raw)
}

func file(t *testing.T, parts ...string) []byte {
	t.Helper()
	out, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// stuck is a recorded pod that hangs in Init: its dialer starts after istio-init.
func stuck(t *testing.T) []byte {
	t.Helper()
	return file(t, "pods", "init-classic.json")
}

// recordedReview is the request of a recorded AdmissionReview.
func recordedReview(t *testing.T, name string) admissionv1.AdmissionRequest {
	t.Helper()
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(file(t, "reviews", name), &review); err != nil {
		t.Fatal(err)
	}
	return *review.Request
}

const noRemedies = `
remedies: {hold: false, start-first: false, restore-sidecar: false, reorder: false, exempt-identity: false, exempt-address: false, exempt-port: false}
`

// chain are the webhook configurations of a cluster with Istio and Vault in which Holdfast is called first.
func chain() []runtime.Object {
	return []runtime.Object{
		mutatingConfiguration("0-holdfast", "pods.mutate.holdfast.dev", "holdfast-system", "holdfast", "/mutate", map[string]string{NameLabel: Name}, true),
		mutatingConfiguration("istio-sidecar-injector", "namespace.sidecar-injector.istio.io", "istio-system", "istiod", "/inject", nil, false),
		mutatingConfiguration("vault-agent-injector-cfg", "vault.hashicorp.com", "vault", "vault-agent-injector-svc", "/mutate", nil, false),
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istio", ResourceVersion: "1"},
			Data:       map[string]string{"mesh": "{}"},
		},
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istio-sidecar-injector", ResourceVersion: "1"},
			Data: map[string]string{
				"config": "policy: enabled",
				"values": `{"global":{"tag":"1.30.0"},"pilot":{"cni":{"enabled":false},"env":{"ENABLE_NATIVE_SIDECARS":"false"}}}`,
			},
		},
	}
}

func mutatingConfiguration(name, webhook, ns, service, path string, labels map[string]string, reinvoked bool) *admissionregistrationv1.MutatingWebhookConfiguration {
	policy := admissionregistrationv1.NeverReinvocationPolicy
	if reinvoked {
		policy = admissionregistrationv1.IfNeededReinvocationPolicy
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, ResourceVersion: "1"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: webhook, ReinvocationPolicy: &policy,
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				Service: &admissionregistrationv1.ServiceReference{Namespace: ns, Name: service, Path: &path},
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
}

// workload is one of the given kind, with vaultTemplate in it.
func workload(t *testing.T, group, kind string) []byte {
	t.Helper()
	spec := `{"template":` + vaultTemplate + `}`
	if kind == "CronJob" {
		spec = `{"jobTemplate":{"spec":` + spec + `}}`
	}
	return []byte(`{"apiVersion":"` + strings.TrimPrefix(group+"/v1", "/") + `","kind":"` + kind + `","metadata":{"name":"web","namespace":"enforce"},"spec":` + spec + `}`)
}

// vaultTemplate is a pod template that Vault's injector will act on.
const vaultTemplate = `{"metadata":{"annotations":{"vault.hashicorp.com/agent-inject":"true","vault.hashicorp.com/service":"https://203.0.113.7:8200"}},` +
	`"spec":{"containers":[{"name":"app","image":"app:1"}],"x-invented":{"kept":true}}}`

// counted reads a counter or a gauge.
func counted(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}
