package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"holdfast.dev/holdfast/config"
)

// FuzzReview: any body gets exactly one well-formed answer, which carries the UID of the request where it has one; an
// object that is not understood is admitted.
func FuzzReview(f *testing.F) {
	for _, raw := range []string{
		``, `{}`, `[]`, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE","namespace":"enforce",` +
			`"resource":{"version":"v1","resource":"pods"},"object":{"spec":{"initContainers":[{"name":"istio-init"},{"name":"vault-agent-init"}]}}}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"UPDATE","namespace":"enforce",` +
			`"resource":{"group":"apps","version":"v1","resource":"deployments"},"object":{"spec":{}},"oldObject":null}}`,
	} {
		f.Add([]byte(raw))
	}
	c := config.Default()
	catalogue := c.Catalogue()
	client := fake.NewClientset(namespace("enforce", map[string]string{config.ModeLabel: "enforce"}))
	cluster, err := NewCluster(logr.Discard(), client, Knowledge{Catalogue: catalogue, Override: c.Override}, types.NamespacedName{})
	if err != nil {
		f.Fatal(err)
	}
	handlers := newReviewer(logr.Discard(), cluster, c, catalogue, false, "holdfast-system", newMetrics(), time.Now).handlers(&atomic.Bool{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var in admissionv1.AdmissionReview
		understood := json.Unmarshal(raw, &in) == nil && in.Request != nil
		for path, handler := range handlers {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(raw))
			req.Header.Set("Content-Type", "application/json")
			res := httptest.NewRecorder()
			handler.ServeHTTP(res, req)
			decoder := json.NewDecoder(res.Body)
			var out admissionv1.AdmissionReview
			if err := decoder.Decode(&out); err != nil || out.Response == nil || decoder.More() {
				t.Fatalf("%s: got %q (%v), want one review", path, res.Body, err)
			}
			if got := out.Response; got.Result.Code >= http.StatusInternalServerError || understood && got.Allowed && got.UID != in.Request.UID {
				t.Errorf("%s: got %+v, UID %q", path, got.Result, got.UID)
			}
		}
	})
}
