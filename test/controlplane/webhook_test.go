package controlplane

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const webhookYAML = `
apiVersion: v1
kind: Service
metadata: {name: hook, namespace: shop}
spec: {selector: {app: hook}, ports: [{name: https, port: 443, targetPort: 9443}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: hook}
webhooks:
- name: hook.example.com
  clientConfig: {service: {name: hook, namespace: shop, path: /}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
`

// hosts has the API server call a webhook in a host, and a program in a host call the API server.
func (s *suite) hosts(t *testing.T) {
	needRoot(t)
	ctx := deadline(t)
	host, err := NewHost(ctx, "hook")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
		if exists(filepath.Join(netnsDir, host.Namespace())) {
			t.Error("namespace of a closed host is there, want it gone")
		}
	})

	t.Run("a webhook behind a Service", func(t *testing.T) { s.webhookInHost(t, host) })
	t.Run("kubectl inside", func(t *testing.T) {
		kubeconfig, err := s.cluster.WriteKubeconfig("inside", s.cluster.Config(), host)
		if err != nil {
			t.Fatal(err)
		}
		out, err := host.Command(ctx, s.cluster.binaries.Kubectl, "--kubeconfig", kubeconfig, "get", "namespace", "shop", "-o", "name").CombinedOutput()
		if got, want := strings.TrimSpace(string(out)), "namespace/shop"; err != nil || got != want {
			t.Errorf("kubectl says %q (%v), want %q", got, err, want)
		}
	})
	t.Run("istiod behind its Service", func(t *testing.T) {
		istiod, err := s.cluster.StartIstiod(ctx, IstioOptions{CNI: true, Native: "true", Host: host})
		if err != nil {
			t.Fatal(err)
		}
		config, err := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, istiod.WebhookName(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := config.Webhooks[0].ClientConfig.Service; got == nil || got.Name != "istiod" {
			t.Errorf("webhook goes to Service %v, want istiod", got)
		}
		if diff := cmp.Diff(s.initContainers(ctx, t, "meshed"), []string{"istio-validation", "istio-proxy", "migrate"}); diff != "" {
			t.Errorf("init containers (-got +want):\n%s", diff)
		}
		if err := istiod.Uninstall(ctx); err != nil {
			t.Error(err)
		}
	})
}

func (s *suite) webhookInHost(t *testing.T, host *Host) {
	ctx := deadline(t)
	pair, err := s.cluster.authority.issue("hook", nil, "hook.shop.svc")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(pair.cert, pair.key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := host.Listen(ctx, "tcp", ":9443")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(refuse), ReadHeaderTimeout: time.Second}
	t.Cleanup(func() { server.Close() })
	go func() {
		_ = server.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}}))
	}()

	objects, err := Objects([]byte(webhookYAML))
	if err != nil {
		t.Fatal(err)
	}
	webhooks := objects[1].Object["webhooks"].([]any)
	webhooks[0].(map[string]any)["clientConfig"].(map[string]any)["caBundle"] = base64.StdEncoding.EncodeToString(s.cluster.authority.certPEM)
	if err := s.cluster.ApplyObjects(ctx, objects); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.cluster.DeleteObjects(context.WithoutCancel(ctx), objects); err != nil {
			t.Error(err)
		}
	})
	if err := s.cluster.Expose(ctx, "shop", "hook", host.Addr(), map[string]int32{"https": 9443}); err != nil {
		t.Fatal(err)
	}

	if err := WaitFor(ctx, "the webhook's answer", s.cluster.processes, func(ctx context.Context) error {
		if _, err := s.client.CoreV1().Pods("shop").Create(ctx, plainPod(), metav1.CreateOptions{}); !strings.Contains(err.Error(), "not today") {
			return err
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	event, err := s.cluster.WaitAuditEvent(ctx, AuditQuery{Verb: "create", Namespace: "shop", Name: plainPod().Name})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(event.Annotations["hook.example.com/verdict"], "refused"); diff != "" {
		t.Errorf("audit annotation (-got +want):\n%s\nall: %v", diff, event.Annotations)
	}
	s.twoSlices(ctx, t)
}

// twoSlices waits for the endpointslice controller's own slice and checks that it left ours alone.
func (s *suite) twoSlices(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := WaitFor(ctx, "two EndpointSlices", s.cluster.processes, func(ctx context.Context) error {
		list, err := s.client.DiscoveryV1().EndpointSlices("shop").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=hook"})
		if err == nil && len(list.Items) != 2 {
			err = errors.New("not two slices")
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// refuse answers every review with a refusal and an audit annotation.
func refuse(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{
		UID:              review.Request.UID,
		Result:           &metav1.Status{Message: "not today"},
		AuditAnnotations: map[string]string{"verdict": "refused"},
	}
	_ = json.NewEncoder(w).Encode(review)
}
