package diagnose

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"holdfast.dev/holdfast/report"
)

// Report is what all probes answered. Its JSON form is what /diagnosis serves and `holdfast diagnose -o json` prints.
type Report struct {
	// Replica is the pod whose server asked; empty where the command did.
	Replica string `json:"replica,omitempty"`
	// Port and Certificate (PEM, the leaf first) are what its server listens on and presents.
	Port        int    `json:"port,omitempty"`
	Certificate string `json:"certificate,omitempty"`

	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	// OK tells that nothing failed.
	OK     bool          `json:"ok"`
	Counts map[State]int `json:"counts"`
	Probes []Line        `json:"probes"`
}

// Line is what one probe answered about one object.
type Line struct {
	Code    string `json:"code"`
	Name    string `json:"name"`
	Group   string `json:"group"`
	Heading string `json:"-"`
	Title   string `json:"title"`
	Object  string `json:"object,omitempty"` // empty: ourselves
	State   State  `json:"state"`
	Message string `json:"message,omitempty"`
	// Effect is what it means for pods while it lasts.
	Effect string `json:"effect,omitempty"`
	// Fix is what to do next. Each of its lines is prose, beginning with a capital letter, or a command to paste.
	Fix string `json:"fix,omitempty"`
	// Cause is the code of the probe because of which this one was skipped.
	Cause   string  `json:"cause,omitempty"`
	Seconds float64 `json:"seconds"`
}

func (l *Line) take(r Result) {
	l.State, l.Message, l.Effect, l.Fix, l.Cause = r.State, r.Message, r.Effect, r.Fix, r.cause
}

func (l *Line) skip(cause string) {
	l.State, l.Cause, l.Message = Skipped, cause, "skipped because "+cause+" failed"
}

// result is the line as the answer that it came of.
func (l *Line) result() Result {
	return Result{State: l.State, Message: l.Message, Effect: l.Effect, Fix: l.Fix, cause: l.Cause}
}

// cause returns the code that is to blame for what cannot be asked after this, "" where the answer is in nobody's way.
func (l *Line) cause() string {
	switch l.State {
	case Failed:
		return l.Code
	case Skipped:
		return l.Cause
	case Passed, Warning, NotApplicable, Unknown:
	}
	return ""
}

// DecodeReport reads what a server answers. Whoever sent it, it holds nothing but lines of text.
func DecodeReport(body []byte) (*Report, error) {
	var r Report
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("decode the report: %w", err)
	}
	for i := range r.Probes {
		l := &r.Probes[i]
		for _, text := range []*string{&l.Code, &l.Name, &l.Object, &l.Effect, &l.Cause} {
			*text = report.OneLine(*text)
		}
		for _, text := range []*string{&l.Message, &l.Fix} {
			lines := strings.Split(*text, "\n")
			for k := range lines {
				lines[k] = report.OneLine(lines[k])
			}
			*text = strings.Join(lines, "\n")
		}
	}
	return &r, nil
}

func (r *Report) count() {
	r.Counts = map[State]int{}
	for i := range r.Probes {
		r.Counts[r.Probes[i].State]++
	}
	r.OK = r.Counts[Failed] == 0
}

// line returns the answer to a probe about an object, or about ourselves (""); nil where there is none.
func (r *Report) line(code, object string) *Line {
	for i := range r.Probes {
		if r.Probes[i].Code == code && r.Probes[i].Object == object {
			return &r.Probes[i]
		}
	}
	return nil
}

// first returns the first line of a text.
func first(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
