package diagnose

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrint(t *testing.T) {
	t.Parallel()
	r := &Report{Seconds: 1.25, Probes: []Line{
		{Code: "HF201", Name: "a", Heading: "One", Title: "a holds", State: Passed, Message: "it does"},
		{Code: "HF202", Name: "b", Heading: "One", Title: "b holds", State: Failed, Message: "it does not", Fix: "do this\nthen that"},
		{Code: "HF203", Name: "c", Heading: "One", Title: "c holds", State: Skipped, Cause: "HF202", Message: "skipped because HF202 failed"},
		{Code: "HF204", Name: "d", Heading: "One", Title: "d holds", State: Unknown, Message: "no answer within 5 s"},
		{Code: "HF231", Name: "e", Heading: "Two", Title: "e holds", Object: "x", State: NotApplicable, Message: "no such thing"},
		{Code: "HF231", Name: "e", Heading: "Two", Title: "e holds", Object: "y", State: Warning, Message: "not quite", Fix: "think"},
		{Code: "HF241", Name: "f", Heading: "Three", Title: "f holds", State: NotApplicable, Message: "there is nothing to ask about"},
		{Code: "HF242", Name: "g", Heading: "Three", Title: "g holds", State: NotApplicable, Message: "there is nothing to ask about"},
	}}
	r.count()
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := `One
---
√ HF201 a holds: it does
× HF202 b holds
    it does not.
      do this
      then that
» HF203 c holds: skipped because HF202 failed
? HF204 d holds: unknown
    no answer within 5 s.

Two
---
x
- HF231 e holds: not applicable: no such thing
y
‼ HF231 e holds
    not quite.
      think

Three
-----
- not applicable: there is nothing to ask about

1 failed, 1 warning, 1 unknown, 1 skipped, 3 not applicable, 1 passed (1.2 s)
The cause, HF202: it does not
holdfast explain HF202 has the background. Once it is mended: holdfast diagnose --wait
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPrintTogether: what lines of one object have in common is said once.
func TestPrintTogether(t *testing.T) {
	t.Parallel()
	r := &Report{}
	add := func(object string, state State, message string, codes ...string) {
		for _, code := range codes {
			r.Probes = append(r.Probes, Line{Code: code, Heading: "One", Title: "it holds", Object: object, State: state, Message: message})
		}
	}
	add("rests", NotApplicable, "put to rest", "HF231", "HF232", "HF233")
	add("skips", Failed, "gone", "HF231")
	add("skips", Skipped, "skipped because HF231 failed", "HF232", "HF233")
	add("differs", NotApplicable, "by URL", "HF231")
	add("differs", NotApplicable, "changes no pods", "HF232")
	add("differs", Skipped, "skipped because HF231 failed", "HF233")
	add("more", Unknown, "too many", "HF231", "HF232", "HF233")
	add("two", Unknown, "too many", "HF231", "HF232")
	add("passes", Passed, "fine", "HF231", "HF232")
	want := `One
---
rests
- HF231 to HF233: not applicable: put to rest
skips
× HF231 it holds
    gone.
» HF232 to HF233: skipped because HF231 failed
differs
- HF231 it holds: not applicable: by URL
- HF232 it holds: not applicable: changes no pods
» HF233 it holds: skipped because HF231 failed
more
? HF231 it holds: unknown
    too many.
? HF232 to HF233: unknown, as HF231
two
? HF231 it holds: unknown
    too many.
? HF232 it holds: unknown, as HF231
passes
√ HF231 it holds: fine
√ HF232 it holds: fine
`
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	got, _, _ := strings.Cut(b.String(), "\n\n")
	if diff := cmp.Diff(want, got+"\n"); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSummary: what is named where there is no failure to name.
func TestSummary(t *testing.T) {
	t.Parallel()
	line := func(code string, s State) Line { return Line{Code: code, Name: "x", State: s, Message: "what it says"} }
	for name, c := range map[string]struct {
		lines []Line
		want  string
	}{
		"all is well":             {[]Line{line("HF201", Passed), line("HF212", NotApplicable)}, "1 not applicable, 1 passed (1.2 s)"},
		"a warning":               {[]Line{line("HF212", Warning), line("HF215", Unknown)}, "1 warning, 1 unknown (1.2 s)\nNothing failed. Worth a look, HF212: what it says\nholdfast explain HF212 has the background."},
		"two warnings":            {[]Line{line("HF212", Warning), line("HF217", Warning)}, "2 warning (1.2 s)\nNothing failed. Worth a look: HF212 x, HF217 x."},
		"nobody can tell":         {[]Line{line("HF215", Unknown), line("HF201", Passed)}, "1 unknown, 1 passed (1.2 s)\nNothing failed. Could not be told: HF215 x."},
		"of two objects, at once": {[]Line{line("HF234", Unknown), line("HF234", Unknown)}, "2 unknown (1.2 s)\nNothing failed. Could not be told: HF234 x."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &Report{Seconds: 1.25, Probes: c.lines}
			r.count()
			if diff := cmp.Diff(c.want, r.Summary()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
