package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/semaphore"
	admissionv1 "k8s.io/api/admission/v1"
)

func TestTooLargeIsAdmittedAndCounted(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	big := podCreation("enforce", padded(t, 8<<20))
	if out := e.review(t, MutatePath, big); !out.Allowed || len(out.Patch)+len(out.Warnings) > 0 {
		t.Errorf("mutate: got allowed %t, %d bytes of patch, warnings %q", out.Allowed, len(out.Patch), out.Warnings)
	}
	if out := e.review(t, ValidatePath, big); !out.Allowed || len(out.Warnings) != 1 {
		t.Errorf("validate: got allowed %t, warnings %q; want one", out.Allowed, out.Warnings)
	}
	if got := counted(t, e.metrics.failures.WithLabelValues(failedTooLarge)); got != 2 {
		t.Errorf("counted: got %v, want 2", got)
	}
	// No review at all: there is no UID, which the API server takes for a failed call.
	if out := e.post(t, ValidatePath, bytes.Repeat([]byte("x"), maxReview)); out.UID != "" {
		t.Errorf("got UID %q of nothing", out.UID)
	}
}

func TestUIDOf(t *testing.T) {
	t.Parallel()
	for head, want := range map[string]string{
		`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a-b","kind":{"group":"","vers`: "a-b",
		`{"request":{"dryRun":true,"kind":{"uid":"wrong"},"uid":"right"`:                                               "right",
		`{"object":{"request":{"uid":"wrong"}},"request":{"uid":"right"}}`:                                             "right",
		`{"request":{"uid":"cut o`: "",
		`{"request":{"uid":7}}`:    "",
		`{"request":"x"}`:          "",
		`{"other":1}`:              "",
		`[`:                        "",
		``:                         "",
	} {
		if got := uidOf([]byte(head)); string(got) != want {
			t.Errorf("%s: got %q, want %q", head, got, want)
		}
	}
}

// TestManyLargeReviews holds back what there is no room for, and admits what has waited too long.
func TestManyLargeReviews(t *testing.T) {
	t.Parallel()
	var inside, most atomic.Int64
	entered, release := make(chan struct{}, 16), make(chan struct{})
	m := newMetrics()
	large := body(t, podCreation("enforce", padded(t, 1<<20)))
	in := &intake{
		log: logr.Discard(), metrics: m, draining: &atomic.Bool{}, room: semaphore.NewWeighted(3 * int64(len(large))),
		next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if n := inside.Add(1); n > most.Load() {
				most.Store(n)
			}
			entered <- struct{}{}
			<-release
			_, _ = io.Copy(io.Discard, r.Body)
			inside.Add(-1)
		}),
	}
	server := httptest.NewServer(in)
	t.Cleanup(server.Close)
	send := func(path string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, bytes.NewReader(large))
		if err != nil {
			t.Error(err)
			return ""
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			t.Error(err)
		}
		return string(answer)
	}
	done := make(chan string, 8)
	for range 5 {
		go func() { done <- send(ValidatePath + "?timeout=20s") }()
	}
	for range 3 {
		<-entered
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal([]byte(send(ValidatePath+"?timeout=20ms")), &review); err != nil {
		t.Fatal(err)
	}
	if out := review.Response; out == nil || !out.Allowed || out.UID != uid || len(out.Warnings) != 1 {
		t.Errorf("no room: got %+v, want it admitted with a warning", out)
	}
	if got := counted(t, m.failures.WithLabelValues(failedBusy)); got != 1 {
		t.Errorf("counted: got %v, want 1", got)
	}
	close(release)
	for range 5 {
		<-done
	}
	if got := most.Load(); got != 3 {
		t.Errorf("got %d at once, want 3", got)
	}
}

func TestDrainingLetsConnectionsGo(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	closes := func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.url+ValidatePath, bytes.NewReader(body(t, podCreation("audit", stuck(t)))))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if answer, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(answer), `"allowed":true`) {
			t.Errorf("got %s, %v", answer, err)
		}
		return res.Close
	}
	if closes() {
		t.Error("connections are not kept")
	}
	e.draining.Store(true)
	if !closes() {
		t.Error("a connection is kept although the server was told to end")
	}
}

// TestEndOfTheServerDoesNotReachCalls cancels the parent of a call, as controller-runtime does when it stops.
func TestEndOfTheServerDoesNotReachCalls(t *testing.T) {
	t.Parallel()
	stopping, stop := context.WithCancel(t.Context())
	var got error
	var left time.Duration
	in := &intake{
		log: logr.Discard(), metrics: newMetrics(), draining: &atomic.Bool{}, room: semaphore.NewWeighted(maxAtOnce),
		next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			stop()
			got = r.Context().Err()
			if deadline, ok := r.Context().Deadline(); ok {
				left = time.Until(deadline)
			}
		}),
	}
	in.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(stopping, http.MethodPost, ValidatePath+"?timeout=5s", strings.NewReader("{}")))
	if got != nil || left <= 0 || left > 5*time.Second {
		t.Errorf("got %v and %v to go, want a call that goes on, with its own deadline", got, left)
	}
}
