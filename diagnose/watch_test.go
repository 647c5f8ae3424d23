package diagnose

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// watched is a healthy installation whose API server can be taken away.
type watched struct {
	*Watch
	down  atomic.Bool
	ready atomic.Bool

	mutex sync.Mutex
	lines []string
}

// said returns all lines of the log.
func (w *watched) said() []string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Clone(w.lines)
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	ours := newSigner(t, "ours")
	w := &watched{}
	s := newCase(t, map[string]string{}, ours, newSigner(t, "other"))
	raw := s.Raw
	s.Raw = func(ctx context.Context, path string) ([]byte, error) {
		if w.down.Load() {
			return nil, errors.New("connection refused")
		}
		return raw(ctx, path)
	}
	log := funcr.New(func(_, line string) {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		w.lines = append(w.lines, line)
	}, funcr.Options{})
	w.Watch = NewWatch(log, s, w.ready.Load)
	s.Now = time.Now
	served, err := s.Server.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	// The clock of synctest begins in 2000.
	fresh := ours.issue(t, []string{s.Own.Host()}, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	*served = tls.Certificate{Certificate: fresh.Certificate, PrivateKey: fresh.PrivateKey}
	s.Dial = func(context.Context, string) (net.Conn, error) { return nil, errors.New("not in this test") }
	return w
}

// told returns what the log says of a probe, oldest first.
func (w *watched) told(code string) []string {
	var out []string
	for _, l := range w.said() {
		if strings.Contains(l, `"code"="`+code+`"`) {
			_, message, _ := strings.Cut(l, `"msg"="`)
			message, _, _ = strings.Cut(message, `"`)
			_, state, _ := strings.Cut(l, `"state"="`)
			state, _, _ = strings.Cut(state, `"`)
			out = append(out, message+": "+state)
		}
	}
	return out
}

// TestWatch: nothing before the server is ready, one line a probe then, one at each turn, and an Event for what went wrong and
// for what came right again.
func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	if rec := serve(t, w.Watch, "/diagnosis"); rec.Code != 503 {
		t.Errorf("before the first run: got %d, want 503", rec.Code)
	}
	since := w.subject.Now().Add(-time.Hour)
	w.round(t.Context(), since)
	if got := len(w.said()); got != len(w.last.Load().Probes) {
		t.Errorf("got %d lines at startup, want one for each of %d probes", got, len(w.last.Load().Probes))
	}
	w.round(t.Context(), since)
	w.down.Store(true)
	if got := w.round(t.Context(), since); got != periodSick {
		t.Errorf("the next run comes after %s, want %s", got, periodSick)
	}
	w.round(t.Context(), since)
	w.down.Store(false)
	w.round(t.Context(), since)
	if diff := cmp.Diff([]string{"probe answered: passed", "probe turned: failed", "probe turned: passed"}, w.told("HF204")); diff != "" {
		t.Errorf("HF204 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"probe answered: passed", "probe turned: skipped", "probe turned: passed"}, w.told("HF206")); diff != "" {
		t.Errorf("HF206 (-want +got):\n%s", diff)
	}
	events, err := w.subject.Client.CoreV1().Events("holdfast-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events.Items {
		if strings.Contains(e.Message, "HF204") {
			got = append(got, e.Type+" "+e.Reason+" "+e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name+" "+e.Message)
		}
	}
	slices.Sort(got)
	want := []string{"Normal ProbePassed Deployment/holdfast HF204 api-server: v1.36.3.", "Warning ProbeFailed Deployment/holdfast HF204 api-server: connection refused. See whether it answers you: kubectl get --raw '/readyz?verbose' --request-timeout=5s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func serve(t *testing.T, w *Watch, path string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
	return rec
}

func TestServeHTTP(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	w.Quiet = true
	rec := serve(t, w.Watch, "/diagnosis") // told to be quiet, it asks when it is asked
	var r Report
	if err := json.Unmarshal(rec.Body.Bytes(), &r); err != nil || rec.Code != 200 || len(r.Probes) == 0 || r.Replica != "holdfast-a" {
		t.Errorf("got %d %s (%v), want a report", rec.Code, rec.Body, err)
	}
	if len(w.said()) > 0 {
		t.Errorf("got %v in the log, want nothing", w.lines)
	}
	rec = httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "POST", "/diagnosis", nil))
	if rec.Code != 405 {
		t.Errorf("POST: got %d, want 405", rec.Code)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	w.round(t.Context(), w.subject.Now())
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(w.Watch); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		key := ""
		for _, l := range m.GetLabel() {
			key += l.GetValue() + " "
		}
		got[strings.TrimSpace(key)] = m.GetGauge().GetValue()
	}
	if families[0].GetName() != "holdfast_probes" || got["HF204 api-server passed"] != 1 || got["HF205 cert-manager not-applicable"] != 1 {
		t.Errorf("got %s %v", families[0].GetName(), got)
	}
}

// TestWatchWaits: readiness first, then a while for others to learn of us, and the end at once.
func TestWatchWaits(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	w.down.Store(true)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Start(ctx) }()
		time.Sleep(time.Minute)
		if w.last.Load() != nil {
			t.Error("it asked before the server was ready")
		}
		w.ready.Store(true)
		time.Sleep(settling - settlingPause - time.Second)
		if w.last.Load() == nil || len(w.said()) > 0 {
			t.Errorf("got %d lines, want a report and not a word yet", len(w.said()))
		}
		time.Sleep(3 * settlingPause)
		if len(w.said()) == 0 {
			t.Error("got not a word about what stays wrong")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
