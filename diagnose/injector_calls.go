package diagnose

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"holdfast.dev/holdfast/report"
)

// secondLook is after how long the counters are read again where nobody has read them before.
const secondLook = 2 * time.Second

func injectorCalls() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF239", Name: "injector-calls", Severity: report.Error,
			Title: "the API server has not failed to call it of late",
			Why:   "The API server counts the calls of each webhook that failed (apiserver_admission_webhook_fail_open_count, and _rejection_count with error_type calling_webhook_error), and more of them have failed since the last look, or all of them. The counter knows no cause: that is in the API server's own words. The counters are those of one API server, and start with it.",
			Fix:   "Create a pod that the injector is called for with --dry-run=server, which creates nothing and prints the API server's own error text; holdfast diagnose does that for whoever may create pods.",
		},
		Needs: []string{"HF238"},
		After: []string{certificateCode},
		ask: aboutNeighbour(func(ctx context.Context, s *Subject, n *neighbour) Result {
			if l := s.needed[certificateCode]; l != nil && l.State == Failed { // no wonder that calls fail
				return skipped(certificateCode)
			}
			return calls(ctx, s, n)
		}),
	}
}

// callKey is what the API server counts by.
type callKey struct {
	name     string
	mutating bool
}

// callCount is what happened to the calls of an entry since the API server started.
type callCount struct{ all, open, closed float64 }

func (c callCount) failed() float64 { return c.open + c.closed }

func (c callCount) minus(o callCount) callCount {
	return callCount{c.all - o.all, c.open - o.open, c.closed - o.closed}
}

func (c callCount) plus(o callCount) callCount {
	return callCount{c.all + o.all, c.open + o.open, c.closed + o.closed}
}

// callCounts are the counters of one API server, which is told from others by when it started.
type callCounts struct {
	process string
	by      map[callKey]callCount
}

// Calls remembers from one run to the next what API servers have counted.
type Calls struct {
	mu     sync.Mutex
	before map[callID]callMemory
}

// callID has the configuration too: two with entries of one name have a memory each.
type callID struct {
	process, configuration string
	callKey
}

type callMemory struct {
	count callCount
	// failing tells that calls failed when last there were any.
	failing bool
	// since is the first look, looked the last one, and failed the last one that saw a call fail.
	since, looked, failed time.Time
}

// turn takes a new count, and returns how it grew, what is remembered, and whether calls fail; known is false for what is seen for
// the first time.
func (c *Calls) turn(id callID, now callCount, at time.Time) (grown callCount, was callMemory, failing, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const most = 10_000
	if c.before == nil || len(c.before) > most { // API servers come and go
		c.before = map[callID]callMemory{}
	}
	was, known = c.before[id]
	grown, failing = now.minus(was.count), was.failing
	next := callMemory{count: now, since: was.since, looked: at, failed: was.failed}
	switch {
	case !known:
		failing = now.failed() > 0 && now.failed() >= now.all
		next.since = at
	case grown.failed() > 0:
		failing = true
		next.failed = at
	case grown.all > 0:
		failing = false
	}
	next.failing = failing
	c.before[id] = next
	return grown, was, failing, known
}

// counts reads the counters, once a run.
func (n *neighbour) counts(ctx context.Context, s *Subject) (*callCounts, error) {
	return n.all.metrics.get(ctx, s.seen.life, s.readCalls)
}

func (s *Subject) readCalls(ctx context.Context) (*callCounts, error) {
	if s.Raw == nil {
		return nil, fmt.Errorf("nobody can read /metrics here")
	}
	page, err := s.Raw(ctx, "/metrics")
	if err != nil {
		return nil, fmt.Errorf("get /metrics of the API server: %w", err)
	}
	return parseCalls(page), nil
}

// parseCalls picks the counters of calls from a page of metrics (k8s.io/apiserver, pkg/admission/metrics at 0.36).
func parseCalls(page []byte) *callCounts {
	out := &callCounts{by: map[callKey]callCount{}}
	lines := bufio.NewScanner(bytes.NewReader(page))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "process_start_time_seconds "); ok {
			out.process = rest
		}
		rest, ok := strings.CutPrefix(line, "apiserver_admission_webhook_")
		if !ok {
			continue
		}
		metric, rest, _ := strings.Cut(rest, "{")
		labels, number, ok := strings.Cut(rest, "} ")
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if !ok || err != nil {
			continue
		}
		key := callKey{labelOf(labels, "name"), labelOf(labels, "type") == "admit"}
		c := out.by[key]
		switch {
		case metric == "request_total":
			c.all += n
		case metric == "fail_open_count":
			c.open += n
		case metric == "rejection_count" && labelOf(labels, "error_type") == "calling_webhook_error":
			c.closed += n
		default:
			continue
		}
		out.by[key] = c
	}
	return out
}

// labelOf returns the value of a label in the text between the braces of a sample.
func labelOf(labels, name string) string {
	for part := range strings.SplitSeq(labels, ",") {
		if v, ok := strings.CutPrefix(part, name+`="`); ok {
			return strings.TrimSuffix(v, `"`)
		}
	}
	return ""
}

func calls(ctx context.Context, s *Subject, n *neighbour) Result {
	counts, err := n.counts(ctx, s)
	if err != nil {
		return cannot(err)
	}
	memory := s.Calls
	if memory == nil {
		memory = &Calls{}
	}
	v := n.judgeCalls(memory, counts, s.Now())
	if v.total.failed() == 0 {
		return passed("all %.0f calls since the API server started were answered", v.total.all)
	}
	if l := s.needed["HF238"]; !v.known && l != nil && l.State == Passed {
		return passed("one has just been answered")
	}
	if !v.known && !v.failing {
		again, err := s.lookAgain(ctx)
		if err != nil {
			return cannot(err)
		}
		if again != nil && again.process == counts.process {
			v = n.judgeCalls(memory, again, s.Now())
		}
	}
	if !v.failing {
		if v.since.IsZero() {
			return passed("the last ones were answered")
		}
		return passed("no call failed in the last %s", v.quiet(s.Now()))
	}
	return s.callsFail(ctx, n, v, counts)
}

// quiet is how long none has failed, as far back as was looked.
func (v *verdict) quiet(now time.Time) string {
	since := v.since
	if v.failed.After(since) {
		since = v.failed
	}
	return duration.HumanDuration(max(time.Second, now.Sub(since)))
}

// callsFail says so, since when, and how to see why: the counter knows no cause.
func (s *Subject) callsFail(ctx context.Context, n *neighbour, v verdict, counts *callCounts) Result {
	count, when := v.grown, "in the last "+duration.HumanDuration(max(time.Second, s.Now().Sub(v.looked)))
	switch began, ok := counts.began(); {
	case count.failed() == 0 && v.known && !v.failed.IsZero():
		count, when = v.total, "since the API server started, the last "+duration.HumanDuration(s.Now().Sub(v.failed))+" ago, and none was answered since"
	case count.failed() == 0 && ok:
		count, when = v.total, "since the API server started "+duration.HumanDuration(s.Now().Sub(began))+" ago"
	case count.failed() == 0:
		count, when = v.total, "since the API server started"
	}
	var lines []string
	if namespaces, err := s.Namespaces(ctx); err == nil {
		if try := n.sample(s, namespaces); try != nil && try.entry.Fails() {
			lines = []string{"The API server tells no cause here. This creates nothing, and prints its own words, or that the pod would be created, which means that it is over:", try.command()}
		}
	}
	if len(lines) == 0 {
		lines = []string{"The API server tells no cause here. Its log does, where the control plane's can be read, and so do the injector's pods, for all but a firewall."}
	}
	lines = append(lines, "If that speaks of a timeout, of a deadline or of a connection refused, the way to the injector is shut:", n.open(ctx, s))
	fix := steps(append(lines, s.missed(ctx, n))...)
	if v.shared != "" {
		return warn(fix, "%.0f of %.0f calls failed %s, of entries with the same names here and in %s", count.failed(), count.all, when, v.shared)
	}
	return failed(fix, "%.0f of %.0f calls failed %s (%.0f let through unchanged, %.0f refused)", count.failed(), count.all, when, count.open, count.closed)
}

// began is when the API server started.
func (c *callCounts) began() (time.Time, bool) {
	seconds, err := strconv.ParseFloat(c.process, 64)
	const plausible = 1e9 // 2001
	return time.Unix(int64(seconds), 0), err == nil && seconds > plausible
}

// verdict is what the counters of all entries of a configuration say.
type verdict struct {
	total, grown callCount
	failing      bool
	known        bool   // none of the entries is seen for the first time
	shared       string // where the failures may be another configuration's: which
	// since is the first look, looked the last one before this, failed the last that saw a failure.
	since, looked, failed time.Time
}

func (n *neighbour) judgeCalls(memory *Calls, counts *callCounts, at time.Time) verdict {
	v := verdict{known: true}
	certain := false
	for _, e := range n.entries {
		key := callKey{e.Name, e.Mutating}
		now := counts.by[key]
		more, was, fails, known := memory.turn(callID{counts.process, n.where(), key}, now, at)
		v.total = v.total.plus(now)
		if known {
			v.grown = v.grown.plus(more)
			v.since, v.looked, v.failed = later(v.since, was.since), later(v.looked, was.looked), later(v.failed, was.failed)
		}
		v.known = v.known && known
		if !fails {
			continue
		}
		v.failing = true
		if other := n.sharing(e); other != "" {
			v.shared = other
		} else {
			certain = true
		}
	}
	if certain {
		v.shared = ""
	}
	return v
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sharing names another configuration with an entry of the same name that calls something else: the API server counts both
// together.
func (n *neighbour) sharing(e *Entry) string {
	for _, other := range n.all.list {
		if other == n || other.resting {
			continue
		}
		if o := find(other.entries, e.Name); o != nil && o.Mutating == e.Mutating && o.callee() != e.callee() {
			return other.where()
		}
	}
	return ""
}

// lookAgain reads the counters once more, after a moment; nil where there is no time for it.
func (s *Subject) lookAgain(ctx context.Context) (*callCounts, error) {
	if end, ok := ctx.Deadline(); ok && end.Sub(s.Now()) < 2*secondLook {
		return nil, nil
	}
	if !sleep(ctx, secondLook) {
		return nil, context.Cause(ctx)
	}
	return s.readCalls(ctx)
}
