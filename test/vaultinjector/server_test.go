package vaultinjector_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"holdfast.dev/holdfast/test/vaultinjector"
)

func newReview(t *testing.T, namespace string, object []byte) []byte {
	t.Helper()
	return encode(t, admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:       "705ab4f5-6393-11e8-b7cc-42010a800002",
			Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Operation: admissionv1.Create,
			Namespace: namespace,
			Object:    runtime.RawExtension{Raw: object},
		},
	})
}

// post sends body and returns status and text of the answer.
func post(t *testing.T, client *http.Client, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func answer(t *testing.T, client *http.Client, url string, review []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	status, text := post(t, client, url, string(review))
	if want := http.StatusOK; status != want {
		t.Fatalf("status: got %d %q, want %d", status, text, want)
	}
	var got admissionv1.AdmissionReview
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if want := (metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}); got.TypeMeta != want {
		t.Errorf("type: got %v, want %v", got.TypeMeta, want)
	}
	if got.Response == nil {
		t.Fatal("response: got none")
	}
	if want := "705ab4f5-6393-11e8-b7cc-42010a800002"; string(got.Response.UID) != want {
		t.Errorf("uid: got %q, want %q", got.Response.UID, want)
	}
	return got.Response
}

func TestHandlerAnswers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(vaultinjector.Injector{}.Handler())
	t.Cleanup(server.Close)
	url := server.URL + "/mutate"
	t.Run("with a patch", func(t *testing.T) {
		t.Parallel()
		raw := encode(t, newPod(t))
		got := answer(t, server.Client(), url, newReview(t, "shop", raw))
		if !got.Allowed || got.PatchType == nil || *got.PatchType != admissionv1.PatchTypeJSONPatch {
			t.Fatalf("got allowed %v with patch type %v, want a JSON patch", got.Allowed, got.PatchType)
		}
		var operations []vaultinjector.Operation
		if err := json.Unmarshal(got.Patch, &operations); err != nil {
			t.Fatal(err)
		}
		want := apply(t, raw, mutate(t, vaultinjector.Injector{}, raw, "shop"))
		if diff := cmp.Diff(want, apply(t, raw, operations)); diff != "" {
			t.Errorf("pod (-want +got):\n%s", diff)
		}
	})
	t.Run("with nothing", func(t *testing.T) {
		t.Parallel()
		got := answer(t, server.Client(), url, newReview(t, "shop", encode(t, newPod(t, "agent-inject", "false"))))
		if !got.Allowed || got.Patch != nil || got.PatchType != nil {
			t.Errorf("got %v, want it allowed without a patch", got)
		}
	})
	for name, test := range map[string]struct{ namespace, object, want string }{
		"a system namespace": {"kube-system", string(encode(t, newPod(t))), `cannot inject into system namespace "kube-system"`},
		"a missing role":     {"shop", string(encode(t, newPod(t, "role", ""))), "no role given: set annotation vault.hashicorp.com/role"},
		"no pod":             {"shop", `{"spec":{"containers":"none"}}`, "decode pod: "},
		"no object":          {"shop", "null", "decode pod: "},
	} {
		t.Run("to "+name, func(t *testing.T) {
			t.Parallel()
			got := answer(t, server.Client(), url, newReview(t, test.namespace, []byte(test.object)))
			if got.Allowed || got.Result == nil || !strings.HasPrefix(got.Result.Message, test.want) {
				t.Errorf("got allowed %v, %v, want it refused with %q", got.Allowed, got.Result, test.want)
			}
		})
	}
}

func TestHandlerRefusesBrokenBodies(t *testing.T) {
	t.Parallel()
	handler := vaultinjector.Injector{}.Handler()
	// A recorder, not a server: a client may lose the answer to a body that is cut off.
	serve := func(t *testing.T, path, contentType, body string) *httptest.ResponseRecorder {
		t.Helper()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
		request.Header.Set("Content-Type", contentType)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		return recorder
	}
	whole := string(newReview(t, "shop", encode(t, newPod(t))))
	for name, test := range map[string]struct{ contentType, body string }{
		"empty":              {"application/json", ""},
		"no JSON":            {"application/json", "pod"},
		"null":               {"application/json", "null"},
		"a list":             {"application/json", "[]"},
		"cut off":            {"application/json", whole[:len(whole)/2]},
		"no request":         {"application/json", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`},
		"no type":            {"application/json", `{"request":{"uid":"1"}}`},
		"another version":    {"application/json", strings.Replace(whole, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1)},
		"wrong content type": {"text/plain", whole},
		"no content type":    {"", whole},
		"too large":          {"application/json", strings.Repeat(" ", 9<<20) + whole},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := serve(t, "/mutate", test.contentType, test.body)
			if want := http.StatusBadRequest; got.Code != want || got.Body.Len() == 0 {
				t.Errorf("answer: got %d %q, want %d and a cause", got.Code, got.Body, want)
			}
		})
	}
	t.Run("an unknown path", func(t *testing.T) {
		t.Parallel()
		if got, want := serve(t, "/inject", "application/json", whole).Code, http.StatusNotFound; got != want {
			t.Errorf("status: got %d, want %d", got, want)
		}
	})
}

// FuzzHandler: whatever the body, there is one answer and no panic.
func FuzzHandler(f *testing.F) {
	f.Add(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","object":{"metadata":{"annotations":{"vault.hashicorp.com/agent-inject":"true"}}}}}`)
	f.Add(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"object":null}}`)
	f.Add(`{`)
	handler := vaultinjector.Injector{}.Handler()
	f.Fuzz(func(t *testing.T, body string) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mutate", strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if got := recorder.Code; got != http.StatusOK && got != http.StatusBadRequest {
			t.Errorf("status: got %d, want 200 or 400", got)
		}
	})
}

// trusting is a client that knows only the injector's CA bundle, and asks for a name.
func trusting(t *testing.T, bundle []byte, serverName string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		t.Fatalf("CA bundle: got %q, want PEM", bundle)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestStart(t *testing.T) {
	t.Parallel()
	review := newReview(t, "shop", encode(t, newPod(t)))
	i := vaultinjector.Injector{}
	server, err := i.Start(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(i.ServiceNames("vault"), "") {
		if got := answer(t, trusting(t, server.CABundle, name), server.URL, review); !got.Allowed || len(got.Patch) == 0 {
			t.Errorf("asked as %q: got %v, want a patch", name, got)
		}
	}
	if err := server.Close(); err != nil {
		t.Errorf("close: got %v, want no error", err)
	}
	if connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Endpoint.String()); err == nil {
		t.Error("closed server: got a connection, want none")
		connection.Close()
	}
}

func TestStartOnAListener(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := vaultinjector.NewCertificate("injector.example")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	server, err := vaultinjector.Injector{}.Start(ctx, listener, certificate)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := server.Endpoint.String(), listener.Addr().String(); got != want {
		t.Errorf("endpoint: got %s, want %s", got, want)
	}
	review := newReview(t, "shop", encode(t, newPod(t)))
	if got := answer(t, trusting(t, certificate.CABundle, "injector.example"), server.URL, review); !got.Allowed {
		t.Errorf("got %v, want it allowed", got)
	}
	cancel()
	<-server.Done()
	if err := server.Close(); err != nil {
		t.Errorf("close: got %v, want no error", err)
	}
}

func TestStartTellsWhyItEnded(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := vaultinjector.Injector{}.Start(t.Context(), listener, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	<-server.Done()
	if err := server.Close(); err == nil || !strings.HasPrefix(err.Error(), "serve admission reviews: ") {
		t.Errorf("close: got %v, want the cause", err)
	}
}

func TestStartRefusesAnUnknownProduct(t *testing.T) {
	t.Parallel()
	if server, err := (vaultinjector.Injector{Prefix: "example.com"}).Start(t.Context(), nil, nil); err == nil {
		t.Errorf("got a server at %s, want an error", server.URL)
	}
}
