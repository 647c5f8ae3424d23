package webhook

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/semaphore"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxReview is the longest review that controller-runtime reads.
	maxReview = 7 << 20
	// maxAtOnce bounds the reviews that are read at the same time, in bytes. What is made of one in memory is several times its
	// size, and replicas have limits.
	maxAtOnce = 24 << 20
	// longestTimeout is that of a webhook configuration, for calls that state none.
	longestTimeout = 30 * time.Second
	// headSize is how far the UID of a review is looked for; the API server writes it at once.
	headSize = 4 << 10
	// maxSkipped bounds what is received of a review that is not read.
	maxSkipped = 64 << 20
)

// intake stands in front of the handlers. It passes the API server's deadline on, keeps what is read at once within bounds,
// and answers by itself, always to admit, what is not read at all.
type intake struct {
	log      logr.Logger
	metrics  *metrics
	draining *atomic.Bool
	room     *semaphore.Weighted // bytes
	next     http.Handler
}

func (in *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if in.draining.Load() {
		// A connection that the API server keeps would bring calls to this replica until it is gone, and be closed under the last.
		w.Header().Set("Connection", "close")
	}
	timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || timeout <= 0 {
		timeout = longestTimeout
	}
	// The end of the server must not reach calls that it has taken: its context is their parent.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), timeout)
	defer cancel()
	r = r.WithContext(ctx)

	size := r.ContentLength
	if size >= maxReview {
		in.decline(w, r, failedTooLarge, "its review is too large")
		return
	}
	if size < 0 { // the API server always tells
		size = maxReview
	}
	if in.enter(ctx, size, timeout-timeout/4) != nil {
		in.decline(w, r, failedBusy, "too many large reviews at once")
		return
	}
	defer in.room.Release(size)
	in.next.ServeHTTP(w, r)
}

// enter waits until there is room for a review, but not so long that an answer would come too late.
func (in *intake) enter(ctx context.Context, size int64, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return in.room.Acquire(ctx, size)
}

// decline admits an object without reading it. Only the head of the review is kept in memory, for its UID.
func (in *intake) decline(w http.ResponseWriter, r *http.Request, reason, why string) {
	in.metrics.failures.WithLabelValues(reason).Inc()
	in.log.Error(errors.New(why), "admitted unjudged", "path", r.URL.Path, "bytes", r.ContentLength)
	body := bufio.NewReaderSize(r.Body, headSize)
	head, err := body.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return // the client is gone
	}
	response := allow().AdmissionResponse
	response.UID = uidOf(head)
	if r.URL.Path == ValidatePath {
		response.Warnings = []string{"holdfast did not judge this object: " + why}
	}
	// A client that is still writing does not read.
	if _, err := io.Copy(io.Discard, io.LimitReader(body, maxSkipped)); err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"}, Response: &response,
	}
	if err := json.NewEncoder(w).Encode(review); err != nil {
		in.log.V(1).Info("the answer was not written", "reason", err.Error())
	}
}

// uidOf finds the UID of a review in its first bytes; "" where it is not there.
func uidOf(head []byte) types.UID {
	var uid types.UID
	d := json.NewDecoder(bytes.NewReader(head))
	if !seek(d, "request") || !seek(d, "uid") || d.Decode(&uid) != nil {
		return ""
	}
	return uid
}

// seek goes into the object that comes next, up to the value of a key.
func seek(d *json.Decoder, key string) bool {
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return false
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return false
		}
		if name == key {
			return true
		}
		var other json.RawMessage
		if d.Decode(&other) != nil {
			return false
		}
	}
	return false
}
