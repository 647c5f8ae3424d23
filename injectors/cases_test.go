package injectors_test

import (
	"testing"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/test/cases"
)

// TestCases prints the plan of every case: one folder an injector. What a rule or a remedy makes of it is in their cases.
func TestCases(t *testing.T) {
	cases.Walk(t, "testdata", func(t *testing.T, c *cases.Case) {
		c.Check(t, cases.WantPart, []byte(cases.Describe(c.Plan())))
	})
}

// TestEveryInjectorHasCases holds that no injector is without a folder, and no folder without an injector.
func TestEveryInjectorHasCases(t *testing.T) {
	folders := map[string]bool{}
	for _, folder := range cases.Folders(t, "testdata") {
		folders[folder] = true
	}
	for _, i := range config.Default().Catalogue().All {
		if !folders[i.Name] {
			t.Errorf("injectors/testdata/%s: no folder of cases for %s", i.Name, i.Title)
		}
		delete(folders, i.Name)
	}
	for folder := range folders {
		if folder != "described" { // the injectors that a configuration describes
			t.Errorf("injectors/testdata/%s: no injector of that name", folder)
		}
	}
}
