package validators_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/validators"
)

// TestCases runs all rules on every case; want is the whole report.
func TestCases(t *testing.T) {
	cases.Walk(t, "testdata", func(t *testing.T, c *cases.Case) {
		findings := validators.Judge(c.Plan(), c.Config)
		c.Check(t, cases.WantPart, []byte(printed(findings)))
		found := slices.ContainsFunc(findings, func(f report.Finding) bool { return f.Rule == c.Folder() })
		switch outcome, _, _ := strings.Cut(c.Name(), "-"); {
		case outcome != "pass" && outcome != "fail":
			t.Errorf("%s: got a name that begins with %s-, want pass- or fail-", c.File, outcome)
		case found != (outcome == "fail"):
			t.Errorf("%s: got a finding of the rule: %v, want %v", c.File, found, !found)
		}
		for i := range findings {
			if n := len([]rune(findings[i].String())); n > report.MaxRunes {
				t.Errorf("got %d runes, want at most %d: %s", n, report.MaxRunes, findings[i].String())
			}
		}
		if c.Part(cases.PatchPart) != nil {
			t.Errorf("%s: got a part %s, want none: rules change nothing", c.File, cases.PatchPart)
		}
	})
}

// TestFolders holds the promise that a rule comes with its cases.
func TestFolders(t *testing.T) {
	var rules []string
	for _, topic := range validators.Topics() {
		rules = append(rules, topic.Name)
	}
	slices.Sort(rules)
	if diff := cmp.Diff(rules, cases.Folders(t, "testdata")); diff != "" {
		t.Errorf("folders of cases (-rules +folders):\n%s", diff)
	}
	for _, rule := range rules {
		outcomes := map[string]bool{}
		for _, file := range cases.Files(t, "testdata", rule) {
			outcome, _, _ := strings.Cut(file, "-")
			outcomes[outcome] = true
		}
		for _, outcome := range []string{"pass", "fail"} {
			if !outcomes[outcome] {
				t.Errorf("%s: got no case that begins with %s-, want one at least", rule, outcome)
			}
		}
	}
}

// printed is a report as cases have it: what was found, where, and on the line below what to do.
func printed(findings []report.Finding) string {
	if len(findings) == 0 {
		return "nothing\n"
	}
	var b strings.Builder
	for i := range findings {
		f := &findings[i]
		at := f.Object
		if f.Path != "" {
			at += " " + f.Path
		}
		b.WriteString(f.Severity.String() + " " + f.Code + " " + at + ": " + f.Message + "\n")
		if f.Fix != "" {
			b.WriteString("    " + f.Fix + "\n")
		}
	}
	return b.String()
}
