package diagnose

import (
	"context"
	"math/rand/v2"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

// When the server asks: soon again while something is not in order.
const (
	period     = 2 * time.Minute
	periodSick = 30 * time.Second
	// settling is how long what fails after the start is tried again before it counts: other programs need a moment to learn
	// that this one is there.
	settling      = 30 * time.Second
	settlingPause = 3 * time.Second
	readyPause    = 500 * time.Millisecond
)

// Watch asks the probes in the server, at its start and from then on, and says what turns: in the log, in a gauge and in
// Events on the Deployment. It begins once the server is ready, which never waits for it, and ends nothing.
type Watch struct {
	// Quiet has it ask nothing by itself: only when /diagnosis is. Set before Start.
	Quiet bool

	log     logr.Logger
	subject *Subject
	ready   func() bool
	desc    *prometheus.Desc

	last   atomic.Pointer[Report]
	asking sync.Mutex // one run at a time; told is read and written under it
	told   *Report    // what was logged last
}

// NewWatch prepares a watch; subject.Server must be set. ready tells whether the server is.
func NewWatch(log logr.Logger, subject *Subject, ready func() bool) *Watch {
	return &Watch{
		log: log, subject: subject, ready: ready,
		desc: prometheus.NewDesc("holdfast_probes", "Answers to the probe of that code, by state: passed, warning, failed, skipped, not-applicable, unknown.",
			[]string{"code", "name", "state"}, nil),
	}
}

// Start asks until the context ends. It always returns nil: diagnosis ends no server.
func (w *Watch) Start(ctx context.Context) error {
	if w.Quiet {
		<-ctx.Done()
		return nil
	}
	if !w.awaitReady(ctx) {
		return nil
	}
	since := w.subject.Now()
	for {
		pause := w.round(ctx, since)
		pause += time.Duration(rand.Int64N(int64(pause / 10))) //nolint:gosec // replicas are not to ask in step, no more
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// round asks once, tells what turned, and says when to ask again. since is when the server became ready.
func (w *Watch) round(ctx context.Context, since time.Time) time.Duration {
	w.asking.Lock()
	defer w.asking.Unlock()
	r := w.ask(ctx)
	sick := r.Counts[Failed]+r.Counts[Unknown] > 0
	if w.told == nil && sick && w.subject.Now().Sub(since) < settling {
		return settlingPause
	}
	w.tell(ctx, r)
	if sick {
		return periodSick
	}
	return period
}

// NeedLeaderElection is false: every replica asks for itself.
func (w *Watch) NeedLeaderElection() bool { return false }

func (w *Watch) awaitReady(ctx context.Context) bool {
	for !w.ready() {
		if !sleep(ctx, readyPause) {
			return false
		}
	}
	return true
}

// sleep returns false where the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// ask asks once; asking is held.
func (w *Watch) ask(ctx context.Context) *Report {
	r := Run(ctx, w.subject)
	if ctx.Err() == nil { // what a run says that was called off is not true
		w.last.Store(r)
	}
	return r
}

// tell says what has turned since it was told last.
func (w *Watch) tell(ctx context.Context, r *Report) {
	if ctx.Err() != nil {
		return
	}
	before := map[string]*Line{}
	if w.told != nil {
		for i := range w.told.Probes {
			l := &w.told.Probes[i]
			before[l.Code+" "+l.Object] = l
		}
	}
	var turned []turn
	for i := range r.Probes {
		l := &r.Probes[i]
		was := before[l.Code+" "+l.Object]
		if was != nil && !l.turned(was) {
			continue
		}
		turned = append(turned, turn{now: l, was: was})
		fields := []any{"code", l.Code, "name", l.Name, "state", string(l.State), "message", l.Message}
		if l.Object != "" {
			fields = append(fields, "object", l.Object)
		}
		if l.Effect != "" {
			fields = append(fields, "effect", l.Effect)
		}
		if l.Fix != "" {
			fields = append(fields, "fix", l.Fix)
		}
		if was == nil {
			w.log.Info("probe answered", fields...)
		} else {
			w.log.Info("probe turned", append(fields, "was", string(was.State))...)
		}
	}
	w.told = r
	w.events(ctx, turned)
}

// numbers, and spans of time.
var numbers = regexp.MustCompile(`[0-9]+[a-z]*`)

// turned tells whether a line is news: another state, or another thing that is wrong. Numbers count for nothing: days and calls go
// by.
func (l *Line) turned(was *Line) bool {
	if was.State != l.State || was.Cause != l.Cause {
		return true
	}
	words := func(text string) string { return numbers.ReplaceAllString(text, "") }
	return (l.State == Failed || l.State == Warning) && words(was.Message) != words(l.Message)
}

// turn is a line that is not what it was; was is nil for the first.
type turn struct{ now, was *Line }

// Describe implements prometheus.Collector.
func (w *Watch) Describe(ch chan<- *prometheus.Desc) { ch <- w.desc }

// Collect implements prometheus.Collector: for each code how many objects are in which state. Objects are no labels.
func (w *Watch) Collect(ch chan<- prometheus.Metric) {
	r := w.last.Load()
	if r == nil {
		return
	}
	type key struct {
		code, name string
		state      State
	}
	n := map[key]int{}
	for i := range r.Probes {
		l := &r.Probes[i]
		n[key{l.Code, l.Name, l.State}]++
	}
	for k, count := range n {
		ch <- prometheus.MustNewConstMetric(w.desc, prometheus.GaugeValue, float64(count), k.code, k.name, string(k.state))
	}
}
