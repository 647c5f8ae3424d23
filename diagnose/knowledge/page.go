package knowledge

import (
	"embed"
	"io/fs"
	"path"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"

	"holdfast.dev/holdfast/report"
)

// examples has, by code, a copy of the case that shows a rule, for programs that are installed without their source. A test
// holds that the copies are true; -update makes them.
//
//go:embed examples
var examples embed.FS

// Page is all that there is to say about a topic.
type Page struct {
	Code     string          `json:"code"`
	Name     string          `json:"name"`
	Severity report.Severity `json:"severity"`
	// Otherwise says when it is another severity.
	Otherwise string   `json:"otherwise,omitempty"`
	Title     string   `json:"title"`
	Why       string   `json:"why"`
	Fix       string   `json:"fix"`
	Silence   string   `json:"silence,omitempty"` // how not to hear of it
	Example   *Example `json:"example,omitempty"`
}

// Example is a case that shows what a rule finds.
type Example struct {
	About  string `json:"about"`
	Object string `json:"object"` // the pod or workload, as YAML
	Says   string `json:"says"`   // what Holdfast says of it
}

// Find returns the topic that a code or a name means.
func Find(topics []report.Topic, codeOrName string) (*report.Topic, bool) {
	for i := range topics {
		if t := &topics[i]; strings.EqualFold(t.Code, codeOrName) || strings.EqualFold(t.Name, codeOrName) {
			return t, true
		}
	}
	return nil, false
}

// NewPage returns a topic's page.
func NewPage(t *report.Topic, silence string) *Page {
	return &Page{
		Code: t.Code, Name: t.Name, Severity: t.Severity, Otherwise: t.Otherwise, Title: t.Title, Why: t.Why, Fix: t.Fix,
		Silence: silence, Example: example(t.Code),
	}
}

// example returns a topic's example, nil where there is none.
func example(code string) *Example {
	data, err := fs.ReadFile(examples, path.Join("examples", code+".txtar"))
	if err != nil {
		return nil
	}
	archive := txtar.Parse(data)
	e := Example{About: strings.Join(strings.Fields(string(archive.Comment)), " ")}
	for _, part := range archive.Files {
		switch part.Name {
		case "pod.yaml", "workload.yaml":
			e.Object = string(part.Data)
		case "want":
			e.Says = string(part.Data)
		}
	}
	return &e
}

// String is the page as people read it.
func (p *Page) String() string {
	var b strings.Builder
	topic := report.Topic{Severity: p.Severity, Otherwise: p.Otherwise}
	b.WriteString(p.Code + " " + p.Name + " (" + topic.Severities() + "): " + p.Title + "\n\n")
	field(&b, "why", wrap(p.Why)...)
	field(&b, "fix", wrap(p.Fix)...)
	field(&b, "mute", wrap(p.Silence)...)
	if p.Example == nil {
		return b.String()
	}
	b.WriteString("\nExample: " + strings.Join(wrap(p.Example.About), "\n") + "\n\n")
	b.WriteString(indent(p.Example.Object) + "\nHoldfast says:\n\n" + indent(p.Example.Says))
	return b.String()
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("  " + line)
	}
	return b.String()
}
