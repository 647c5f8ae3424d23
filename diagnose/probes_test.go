package diagnose

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast.dev/holdfast/report"
)

// TestTopics holds what the documentation, and those who sort by codes, rely on.
func TestTopics(t *testing.T) {
	t.Parallel()
	var before []string
	names := map[string]bool{}
	for _, p := range All() {
		if !regexp.MustCompile(`^HF2\d\d$`).MatchString(p.Code) || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(p.Name) {
			t.Errorf("%s %s: not well formed", p.Code, p.Name)
		}
		if slices.Contains(before, p.Code) || names[p.Name] {
			t.Errorf("%s %s: there twice", p.Code, p.Name)
		}
		if len(before) > 0 && p.Code < before[len(before)-1] {
			t.Errorf("%s: listed after %s", p.Code, before[len(before)-1])
		}
		if p.Title == "" || p.Why == "" || p.Fix == "" || p.Severity != report.Error && p.Severity != report.Warning {
			t.Errorf("%s: no title, reason, fix or severity", p.Code)
		}
		if strings.HasSuffix(p.Title, ".") {
			t.Errorf("%s: title %q: a clause that is true on a good day", p.Code, p.Title)
		}
		for _, need := range p.Needs {
			if !slices.Contains(before, need) {
				t.Errorf("%s needs %s, which is not asked before it", p.Code, need)
			}
		}
		before, names[p.Name] = append(before, p.Code), true
	}
}
