package validators_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/validators"
)

// tooLong returns the cases in which a rule says more than fits, with the rule's code: containers and hosts with long names, and
// lists of several entries in an annotation with a long name. What is cut then is the end of the cause; the fix stays whole.
func tooLong() []string {
	return []string{
		"cut-init/fail-traffic-director-declared HF102",
		"late-dialer/fail-1password-template HF101",
		"late-dialer/fail-advice-repairs-broken-list HF101",
		"late-dialer/fail-conjur-called-later HF101",
		"late-dialer/fail-consul-not-redirected-istio HF101",
		"late-dialer/fail-external-with-ranges HF101",
		"late-dialer/fail-osm-first-elsewhere HF101",
	}
}

// TestLength: with names of a normal length nothing has to be cut.
func TestLength(t *testing.T) {
	listed, seen := tooLong(), map[string]bool{}
	for _, folder := range cases.Folders(t, "testdata") {
		for _, file := range cases.Files(t, "testdata", folder) {
			c, err := cases.Read(filepath.Join("testdata", folder, file))
			if err != nil {
				t.Fatal(err)
			}
			findings := validators.Judge(c.Plan(), c.Config)
			for i := range findings {
				f := &findings[i]
				name, n := folder+"/"+strings.TrimSuffix(file, ".txtar")+" "+f.Code, len([]rune(f.Text()))
				if n <= report.MaxRunes {
					continue
				}
				seen[name] = true
				if !slices.Contains(listed, name) {
					t.Errorf("%s: got %d runes, want at most %d: %s", name, n, report.MaxRunes, f.Text())
				}
			}
		}
	}
	for _, name := range listed {
		if !seen[name] {
			t.Errorf("%s: got nothing that is too long, want it off the list", name)
		}
	}
}
