package diagnose

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestWithin15Seconds: the report is there 15 seconds after whoever asks began, whatever hangs, and however long it took to get
// that far.
func TestWithin15Seconds(t *testing.T) {
	t.Parallel()
	const promised = 15 * time.Second
	for _, spent := range []time.Duration{0, locateTimeout + lookUp} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			release := make(chan struct{})
			groups := []Group{{Name: "a", Probes: []Probe{
				toy("A1", func(context.Context) Result { <-release; return Result{State: Passed} }),
				toy("A2", func(context.Context) Result { <-release; return Result{State: Passed} }, "A1"),
				toy("A3", func(context.Context) Result { <-release; return Result{State: Passed} }, "A2"),
				toy("A4", func(context.Context) Result { <-release; return Result{State: Passed} }, "A3"),
			}}}
			time.Sleep(spent)
			r := run(t.Context(), &Subject{Now: time.Now, Spent: spent}, groups, limit(spent))
			if took := time.Since(began); took > promised {
				t.Errorf("spent %s before: got a report after %s, want at most %s", spent, took, promised)
			}
			if got := r.Counts[Unknown]; got != 4 {
				t.Errorf("got %v, want 4 unknown", r.Counts)
			}
			close(release)
		})
	}
}

// TestElsewise: where whoever asks may not look, the server's answer counts, and says whose it is.
func TestElsewise(t *testing.T) {
	t.Parallel()
	denied := apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "", errors.New("no"))
	p := toy("HF210", func(context.Context) Result { return cannot(denied) })
	ask := func(theirs State) Result {
		s := &Subject{Now: time.Now, ServerReport: func(context.Context) (*Report, error) {
			return &Report{Probes: []Line{{Code: "HF210", State: theirs, Message: "443 to 9443", Fix: "Do it.", Effect: "So it is."}}}, nil
		}}
		s.seen = newSeen(t.Context())
		return p.answer(t.Context(), s)
	}
	if got := ask(Failed); got.State != Failed || got.Message != "443 to 9443 (says the server)" || got.Fix != "Do it." || got.Effect != "So it is." {
		t.Errorf("got %+v, want what the server says", got)
	}
	if got := ask(Unknown); got.State != Unknown || !strings.Contains(got.Message, "a right is missing") {
		t.Errorf("got %+v, want the right that is missing", got)
	}
}

// TestPatchQuotes: no value ends the quotes that a patch stands in.
func TestPatchQuotes(t *testing.T) {
	t.Parallel()
	e := &Entry{Mutating: true, Configuration: "x"}
	got := e.patch(op{"replace", "/a", map[string]any{"k": "it's $(id) `id` <b>"}})
	if strings.Count(got, "'") != 2 || !strings.Contains(got, `it\u0027s $(id)`) {
		t.Errorf("got %s, want the value between two quotes", got)
	}
}

// TestFormatsOfWhatCouldNotBeTold: unknown is no pass in any format.
func TestFormatsOfWhatCouldNotBeTold(t *testing.T) {
	t.Parallel()
	r := &Report{Probes: []Line{{Code: "HF210", Name: "service", State: Unknown, Message: "no answer", Object: "a:b,c"}}}
	r.count()
	for format, want := range map[string]string{
		"junit": `<skipped message="no answer">`, "github": "::warning title=HF210 service a%3Ab%2Cc::no answer.", "sarif": `"level": "warning"`, "json": `"state": "unknown"`,
	} {
		var b strings.Builder
		if err := r.Write(&b, format); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: got no %s in\n%s", format, want, b.String())
		}
	}
}
