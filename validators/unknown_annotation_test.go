package validators_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/validators"
)

// TestUnknownAnnotationIsSilent holds that what pods have in real life, as far as cases and recordings show it, is not taken for
// misspelled.
func TestUnknownAnnotationIsSilent(t *testing.T) {
	silent := func(t *testing.T, findings []report.Finding) {
		t.Helper()
		for i := range findings {
			if f := &findings[i]; f.Code == "HF113" {
				t.Errorf("got %s %s, want nothing", f.Message, f.Fix)
			}
		}
	}
	for _, dir := range []string{"testdata", injectorCases, "../mutators/testdata"} {
		cases.Walk(t, dir, func(t *testing.T, c *cases.Case) {
			if c.Folder() != "unknown-annotation" {
				silent(t, validators.Judge(c.Plan(), c.Config))
			}
		})
	}
	recorded, err := filepath.Glob("../test/vaultinjector/testdata/recorded/*.json")
	if err != nil || len(recorded) == 0 {
		t.Fatalf("got %d recordings (%v), want some", len(recorded), err)
	}
	c := config.Default()
	for _, file := range recorded {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var pod corev1.Pod
		if err := json.Unmarshal(data, &pod); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(pod.Annotations) == 0 {
			t.Errorf("%s: got no annotations, want those of an injected pod", file)
		}
		e := &injectors.Env{Catalogue: c.Catalogue()}
		silent(t, validators.Judge(injectors.New(injectors.PodTarget(&pod, &injectors.Namespace{Name: "shop"}), e, injectors.Fact), c))
	}
}
