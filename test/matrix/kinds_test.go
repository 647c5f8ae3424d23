package matrix_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/matrix"
	"holdfast.dev/holdfast/validators"
)

// TestKinds holds, for every mode of every mesh with Vault as installed, that all kinds of workloads are judged as a Deployment
// is, and what is written on them: the annotation that makes the app wait for the proxy, where the mesh has one, the proxy is
// no native sidecar and the pods restart their containers; nothing else. That objects with a controller are not written to at
// all is for the webhook to see to, which does not ask about them.
func TestKinds(t *testing.T) {
	t.Parallel()
	for _, p := range pairs(t) {
		if p.Agent.Injector != "vault" || p.Agent.Name != "as installed" {
			continue
		}
		for _, kind := range matrix.Kinds() {
			t.Run(p.String()+"/"+kind, func(t *testing.T) {
				t.Parallel()
				want, err := p.Judge()
				if err != nil {
					t.Fatal(err)
				}
				got, err := p.JudgeAs(kind)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("foretold (-of a Deployment +of a %s):\n%s", kind, diff)
				}
				written(t, p, kind)
			})
		}
	}
}

// written holds the patch of a template, and where findings about it point.
func written(t *testing.T, p matrix.Pair, kind string) {
	t.Helper()
	c, err := p.Case(kind)
	if err != nil {
		t.Fatal(err)
	}
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	var want, got []operation
	if hold := p.Mode.Hold; hold != nil && kind != "Job" && kind != "CronJob" {
		at := "/" + strings.Join(matrix.TemplatePath(kind), "/") + "/metadata/annotations/"
		want = []operation{{"add", at + strings.ReplaceAll(hold.Key, "/", "~1"), hold.Value}}
	}
	out := mutators.Choose(c.Plan(), c.Config, mutators.Mutating)
	if !out.Patch.Empty() {
		if err := json.Unmarshal(out.Patch.JSON(), &got); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
	template := strings.Join(matrix.TemplatePath(kind), ".")
	for _, f := range validators.Judge(c.Plan(), c.Config) {
		if f.Object != kind+"/web" {
			t.Errorf("%s: got object %s, want %s/web", f.Code, f.Object, kind)
		}
		switch {
		case f.Container == "" && f.Path == "":
		case !strings.HasPrefix(f.Path, template+".spec."), strings.Contains(strings.TrimPrefix(f.Path, template), "template"):
			t.Errorf("%s: got path %s, want it below %s.spec", f.Code, f.Path, template)
		}
	}
}
