package diagnose

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

// Formats are the words that Write takes.
func Formats() []string { return []string{"text", "json", "yaml", "sarif", "junit", "github"} }

// Write writes the report in one of the formats.
func (r *Report) Write(w io.Writer, format string) error {
	switch format {
	case "text":
		return r.Print(w)
	case "json":
		return indented(w, r)
	case "yaml":
		out, err := yaml.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode report: %w", err)
		}
		_, err = w.Write(out)
		return err
	case "sarif":
		return indented(w, r.sarif())
	case "junit":
		return r.junit(w)
	case "github":
		return r.github(w)
	}
	return fmt.Errorf("output %q: must be %s", format, strings.Join(Formats(), ", "))
}

func indented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// about says what a line is about, for formats that have no lines of their own for it.
func (l *Line) about() string {
	if l.Object == "" {
		return "holdfast"
	}
	return l.Object
}

// text is what is wrong and what to do.
func (l *Line) text() string { return steps(sentence(l.Message), l.Effect, l.Fix) }

// level is the word that SARIF and GitHub have for a state; "" for what is in order, or not the cause.
func (s State) level() string {
	switch s {
	case Failed:
		return "error"
	case Warning, Unknown:
		return "warning"
	case Passed, NotApplicable, Skipped:
	}
	return ""
}

// The part of SARIF 2.1.0 that is needed.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver struct {
				Name  string      `json:"name"`
				Rules []sarifRule `json:"rules"`
			} `json:"driver"`
		} `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifRule struct {
		ID    string    `json:"id"`
		Name  string    `json:"name"`
		Short sarifText `json:"shortDescription"`
		Full  sarifText `json:"fullDescription"`
		Help  sarifText `json:"help"`
	}
	sarifResult struct {
		Rule      string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Logical []sarifLogical `json:"logicalLocations"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
)

func (r *Report) sarif() *sarifLog {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver.Name = "holdfast diagnose"
	for _, t := range Topics() {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: t.Code, Name: t.Name, Short: sarifText{t.Title}, Full: sarifText{t.Why}, Help: sarifText{t.Fix},
		})
	}
	for i := range r.Probes {
		l := &r.Probes[i]
		if level := l.State.level(); level != "" {
			run.Results = append(run.Results, sarifResult{
				Rule: l.Code, Level: level, Message: sarifText{l.text()},
				Locations: []sarifLocation{{Logical: []sarifLogical{{l.about()}}}},
			})
		}
	}
	return &sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

// The part of JUnit's XML that CI systems read.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string     `xml:"classname,attr"`
		Name    string     `xml:"name,attr"`
		Time    string     `xml:"time,attr"`
		Failure *junitText `xml:"failure,omitempty"`
		Skipped *junitText `xml:"skipped,omitempty"`
		Out     string     `xml:"system-out,omitempty"`
	}
	junitText struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

func (r *Report) junit(w io.Writer) error {
	suite := junitSuite{Name: "holdfast diagnose", Tests: len(r.Probes), Time: fmt.Sprintf("%.3f", r.Seconds)}
	for i := range r.Probes {
		l := &r.Probes[i]
		c := junitCase{Class: l.about(), Name: l.Code + " " + l.Name, Time: fmt.Sprintf("%.3f", l.Seconds)}
		switch l.State {
		case Failed:
			suite.Failures++
			c.Failure = &junitText{Message: l.Message, Text: l.text()}
		case Skipped, NotApplicable, Unknown:
			suite.Skipped++
			c.Skipped = &junitText{Message: l.Message}
		case Passed, Warning:
			c.Out = l.text()
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(suite); err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// github writes workflow commands, which become annotations of a run.
func (r *Report) github(w io.Writer) error {
	// docs.github.com, "Workflow commands": these three end a message otherwise, and these two a property as well.
	message := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for i := range r.Probes {
		l := &r.Probes[i]
		if level := l.State.level(); level != "" {
			title := l.Code + " " + l.Name + " " + l.about()
			if _, err := fmt.Fprintf(w, "::%s title=%s::%s\n", level, property.Replace(title), message.Replace(l.text())); err != nil {
				return err
			}
		}
	}
	return nil
}
