package diagnose

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast.dev/holdfast/report"
)

// toy is a probe that answers as it is told.
func toy(code string, answer func(ctx context.Context) Result, needs ...string) Probe {
	return Probe{
		Topic: report.Topic{Code: code, Name: strings.ToLower(code), Title: code + " holds"}, Needs: needs,
		ask: func(ctx context.Context, _ *Subject) Result { return answer(ctx) },
	}
}

func says(s State) func(context.Context) Result {
	return func(context.Context) Result { return Result{State: s, Message: "it is so"} }
}

func outcome(r *Report) map[string]string {
	out := map[string]string{}
	for i := range r.Probes {
		l := &r.Probes[i]
		key := l.Code
		if l.Object != "" {
			key += " " + l.Object
		}
		out[key] = strings.TrimSpace(string(l.State) + " " + l.Cause)
	}
	return out
}

func TestFirstFailureIsTheCause(t *testing.T) {
	t.Parallel()
	groups := []Group{
		{Name: "a", Probes: []Probe{toy("HF204", says(Passed)), toy("A1", says(Warning)), toy("A2", says(Failed), "A1"), toy("A3", says(Failed), "A2", "B1")}},
		{Name: "b", Probes: []Probe{toy("B1", says(Unknown)), toy("B2", says(Passed), "A3"), toy("B3", says(Passed), "B1")}},
		{Name: "c", Probes: []Probe{toy("C1", says(Passed), "C0", "B1"), toy("C2", says(Failed)), toy("C3", says(Passed), "C2")}, About: func(context.Context, *Subject) ([]*Object, error) {
			return []*Object{{Name: "x"}, {Name: "y"}}, nil
		}},
		{Name: "d", Probes: []Probe{toy("D1", says(Passed))}, About: func(context.Context, *Subject) ([]*Object, error) { return nil, nil }},
		{Name: "e", Probes: []Probe{toy("E1", says(Passed))}, About: func(context.Context, *Subject) ([]*Object, error) { return nil, errors.New("list x") }},
	}
	got := outcome(run(t.Context(), &Subject{Now: time.Now}, groups, whole))
	want := map[string]string{
		"HF204": "passed", "A1": "warning", "A2": "failed", "A3": "skipped A2",
		"B1": "unknown", "B2": "skipped A2", "B3": "passed",
		"C1 x": "passed", "C2 x": "failed", "C3 x": "skipped C2", "C1 y": "passed", "C2 y": "failed", "C3 y": "skipped C2",
		"D1": "not-applicable", "E1": "unknown",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNothingHangsTheReport has probes that never answer, and ignore that they are told to end.
func TestNothingHangsTheReport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		hangs := func(context.Context) Result { <-release; return Result{State: Passed} }
		patient := toy("A3", hangs, "A2")
		patient.Patience = time.Hour
		groups := []Group{
			{Name: "a", Probes: []Probe{toy("A1", hangs), toy("A2", hangs, "A1"), patient, toy("A4", hangs, "A3"), toy("A5", says(Passed))}},
			{Name: "b", Probes: []Probe{toy("B1", says(Passed))}, About: func(context.Context, *Subject) ([]*Object, error) {
				<-release
				return nil, nil
			}},
		}
		began := time.Now()
		const limit = 12 * time.Second
		r := run(t.Context(), &Subject{Now: time.Now}, groups, limit)
		if took := time.Since(began); took > limit {
			t.Errorf("took %s, want at most %s", took, limit)
		}
		want := map[string]string{"A1": "unknown", "A2": "unknown", "A3": "unknown", "A4": "unknown", "A5": "passed", "B1": "unknown"}
		if diff := cmp.Diff(want, outcome(r)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got, want := r.Probes[0].Message, "no answer within 5 s"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestABrokenProbeIsUnknown(t *testing.T) {
	t.Parallel()
	var m memo[int]
	groups := []Group{
		{Name: "a", Probes: []Probe{
			toy("A1", func(context.Context) Result { panic("no") }),
			toy("A2", func(ctx context.Context) Result {
				if _, err := m.get(ctx, ctx, func(context.Context) (int, error) { panic("no") }); err != nil {
					return cannot(err)
				}
				return Result{State: Passed}
			}),
		}},
		{Name: "b", Probes: []Probe{toy("B1", says(Passed))}, About: func(context.Context, *Subject) ([]*Object, error) { panic("no") }},
	}
	want := map[string]string{"A1": "unknown", "A2": "unknown", "B1": "unknown"}
	if diff := cmp.Diff(want, outcome(run(t.Context(), &Subject{Now: time.Now}, groups, whole))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
