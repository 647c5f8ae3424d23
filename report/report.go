// Package report holds the one vocabulary in which Holdfast speaks: topics (what can be said, fixed texts), findings
// (one thing a person should know, here and now) and how both are printed. It knows nothing of pods or clusters.
package report

import (
	"fmt"
	"slices"
	"strings"
)

// Severity says how bad a finding is. The zero value is Off: a rule that is switched off reports nothing.
type Severity uint8

// Error means that the pod certainly never becomes ready; only errors refuse.
const (
	Off Severity = iota
	Info
	Warning
	Error
)

// String returns the word that configuration files, findings and metrics use.
func (s Severity) String() string {
	switch s {
	case Off:
		return "off"
	case Info:
		return "info"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// ParseSeverity is the reverse of String.
func ParseSeverity(s string) (Severity, error) {
	for v := Off; v <= Error; v++ {
		if v.String() == s {
			return v, nil
		}
	}
	return Off, fmt.Errorf("severity %q: must be off, info, warning or error", s)
}

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Severity) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSeverity(string(text))
	return err
}

// Topic is the fixed part of what a rule or a probe can say. The documentation is generated from it.
type Topic struct {
	Code     string   // HF101; never reused
	Name     string   // late-dialer; also the names of the rule's file and of its folder of cases
	Severity Severity // unless configured otherwise
	// Otherwise says when it is another severity, "error where ..."; empty where it never is.
	Otherwise string
	Title     string // one line: what is wrong
	Why       string // what happens, and how it comes about
	Fix       string // how to put it right by hand
}

// Severities says how bad it is: the severity, and when it is another.
func (t *Topic) Severities() string {
	if t.Otherwise == "" {
		return t.Severity.String()
	}
	return t.Severity.String() + "; " + t.Otherwise
}

// MaxRunes is the length at which the API server cuts a warning once a response carries many of them
// (k8s.io/apiserver, pkg/endpoints/filters/warning.go). No finding prints longer than that.
const MaxRunes = 256

// Finding is one thing a person should know, where it is, and what to do.
type Finding struct {
	Code      string   `json:"code"`
	Rule      string   `json:"rule"`
	Severity  Severity `json:"severity"`
	Namespace string   `json:"namespace,omitempty"`
	Object    string   `json:"object"`              // Pod/web, ReplicaSet/web-6d4cf
	Container string   `json:"container,omitempty"` // empty where the whole object is meant
	Path      string   `json:"path,omitempty"`      // spec.initContainers[1]
	Message   string   `json:"message"`             // the cause: one clause in the present tense
	Fix       string   `json:"fix,omitempty"`       // an imperative with the line to paste
}

// Text is the finding in full, for where nobody cuts it: refusals.
func (f *Finding) Text() string {
	if f.Fix == "" {
		return f.Code + " " + f.Object + ": " + f.Message
	}
	return f.Code + " " + f.Object + ": " + f.Message + " " + f.Fix
}

// String is the finding as a client sees it in a warning, within MaxRunes:
//
//	HF101 Pod/web: "vault-agent-init" (initContainers[2]) needs the network, cut by "istio-init" (initContainers[1]). Annotate: ...
func (f *Finding) String() string {
	if s := f.Text(); fits(s) {
		return s
	}
	tail := ""
	if f.Fix != "" {
		tail = " " + f.Fix
	}
	// Long names are what makes a finding long: the middle of the object's name goes first, then the end of the cause.
	// The fix is what the reader came for and is kept as long as there is room for it.
	object := f.Object
	if kind, name, ok := strings.Cut(object, "/"); ok {
		object = kind + "/" + Shorten(name, 40)
	}
	head := f.Code + " " + Shorten(object, 80) + ": "
	room := MaxRunes - runes(head) - runes(tail)
	const least = 60
	if room < least {
		tail = " " + Shorten(f.Fix, max(MaxRunes-runes(head)-least-1, 20))
		room = MaxRunes - runes(head) - runes(tail)
	}
	return cut(head+cut(f.Message, room)+tail, MaxRunes)
}

// Shorten keeps the beginning and the end of a name, which tell most, within n runes.
func Shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	r := []rune(s)
	if len(r) <= n || n < 5 {
		return s
	}
	front := (n - 1) * 2 / 3
	return string(r[:front]) + "…" + string(r[len(r)-(n-1-front):])
}

func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:max(n-1, 0)]) + "…"
}

func fits(s string) bool { return len(s) <= MaxRunes || runes(s) <= MaxRunes }
func runes(s string) int { return len([]rune(s)) }

// Worst returns the highest severity among the findings, Off when there is none.
func Worst(findings []Finding) Severity {
	worst := Off
	for i := range findings {
		worst = max(worst, findings[i].Severity)
	}
	return worst
}

// Codes returns the distinct codes in the order of first appearance.
func Codes(findings []Finding) []string {
	var codes []string
	for i := range findings {
		if !slices.Contains(codes, findings[i].Code) {
			codes = append(codes, findings[i].Code)
		}
	}
	return codes
}

// Sort orders findings by severity, worst first, keeping the order of the rules within one severity.
func Sort(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int { return int(b.Severity) - int(a.Severity) })
}
