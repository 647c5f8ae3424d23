package mutators_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/validators"
)

// TestCases runs all remedies on every case: want is what they make of it, patch.json the exact patch. A case that begins
// with never- does not see the remedy of its folder, acts- and cures- do; after cures- no error is left.
func TestCases(t *testing.T) {
	cases.Walk(t, "testdata", func(t *testing.T, c *cases.Case) {
		out := mutators.Choose(c.Plan(), c.Config, when(c))
		left := errorsLeft(out.Plan, c.Config)
		c.Check(t, cases.WantPart, fmt.Appendf(nil, "remedies: %s\ninit containers: %s\nerrors left: %s\n", list(out.Remedies), list(order(out.Plan)), list(left)))
		c.Check(t, cases.PatchPart, indented(t, out.Patch.JSON()))

		acted := slices.Contains(out.Remedies, c.Folder())
		switch outcome, _, _ := strings.Cut(c.Name(), "-"); outcome {
		case "never":
			if acted {
				t.Errorf("got remedy %s, want it never", c.Folder())
			}
		case "cures":
			if len(left) > 0 {
				t.Errorf("got errors %v left, want none", left)
			}
			fallthrough
		case "acts":
			if !acted {
				t.Errorf("got remedies %v, want %s among them", out.Remedies, c.Folder())
			}
		default:
			t.Errorf("got a name that begins with %s-, want acts-, cures- or never-", outcome)
		}
		held(t, c, c.Raw, out)
		onTemplates(t, c, out)
		invented(t, c, out)
	})
}

// TestFolders holds the promise that a remedy comes with its cases.
func TestFolders(t *testing.T) {
	remedies := config.Remedies()
	slices.Sort(remedies)
	if diff := cmp.Diff(remedies, cases.Folders(t, "testdata")); diff != "" {
		t.Errorf("folders of cases (-remedies +folders):\n%s", diff)
	}
	for i, r := range mutators.All() {
		if got, want := r.Name, config.Remedies()[i]; got != want {
			t.Errorf("remedy %d: got %s, want %s", i, got, want)
		}
		if r.Title == "" || r.Never == "" {
			t.Errorf("%s: got title %q, never %q, want both", r.Name, r.Title, r.Never)
		}
	}
}

func when(c *cases.Case) mutators.When {
	switch {
	case c.Validating:
		return mutators.Hindsight
	case c.Target.Template():
		return mutators.Foresight
	}
	return mutators.Mutating
}

// held holds what is true of every outcome: the patch applies to the raw object, names what it changes, and leads to the
// plan that was promised; a second choice finds nothing more to do.
func held(t *testing.T, c *cases.Case, raw []byte, out mutators.Outcome) {
	t.Helper()
	if got, want := out.Patch.Empty(), out.Patch.JSON() == nil; got != want {
		t.Fatalf("patch: got empty %v, want %v", got, want)
	}
	patched := applied(t, raw, out.Patch.JSON())
	if diff := cmp.Diff(without(t, raw, out.Patch.JSON()), without(t, patched, out.Patch.JSON())); diff != "" {
		t.Errorf("the patch changes what it does not name (-before +after):\n%s", diff)
	}
	target, err := c.Decode(patched)
	if err != nil {
		t.Fatal(err)
	}
	p := injectors.New(target, c.Env, c.Horizon)
	// Elsewhere the outcome is what happens at other times, and the patch no way there.
	if when(c) == mutators.Mutating {
		if diff := cmp.Diff(described(p), described(out.Plan)); diff != "" {
			t.Errorf("plan (-of the patched object +promised):\n%s", diff)
		}
	}
	if again := mutators.Choose(p, c.Config, when(c)); !again.Patch.Empty() {
		t.Errorf("second choice: got %v %s, want nothing", again.Remedies, again.Patch.JSON())
	}
}

// onTemplates holds that a template gets hold alone, as a new key, and the same whether or not one looks ahead to its pods.
func onTemplates(t *testing.T, c *cases.Case, out mutators.Outcome) {
	t.Helper()
	if !c.Target.Template() {
		return
	}
	now := mutators.Choose(c.Plan(), c.Config, mutators.Mutating)
	if !bytes.Equal(now.Patch.JSON(), out.Patch.JSON()) {
		t.Errorf("patch: got %s, want %s", out.Patch.JSON(), now.Patch.JSON())
	}
	if len(now.Remedies) > 1 || len(now.Remedies) == 1 && now.Remedies[0] != config.Hold {
		t.Errorf("remedies: got %v, want hold alone", now.Remedies)
	}
	for key, value := range c.Target.Meta.Annotations {
		if bytes.Contains(now.Patch.JSON(), []byte(strings.ReplaceAll(key, "/", "~1"))) {
			t.Errorf("annotation %s: %s: got it changed, want new keys only", key, value)
		}
	}
	if bytes.Contains(now.Patch.JSON(), []byte(mutators.AppliedAnnotation)) {
		t.Errorf("got %s on a template", mutators.AppliedAnnotation)
	}
}

// invented holds that fields which this program's types do not know come through: the same patch comes out for an object
// that has some, and they are where they were.
func invented(t *testing.T, c *cases.Case, out mutators.Outcome) {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(c.Raw, &object); err != nil {
		t.Fatal(err)
	}
	object["inventedField"] = map[string]any{"by": "a newer API"}
	spec := podSpec(object)
	spec["inventedField"] = []any{"a", map[string]any{"b": 1.5}}
	for _, key := range []string{"initContainers", "containers"} {
		for _, container := range containers(spec, key) {
			container["inventedField"] = container["name"]
		}
	}
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	target, err := c.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	got := mutators.Choose(injectors.New(target, c.Env, c.Horizon), c.Config, when(c))
	if !bytes.Equal(got.Patch.JSON(), out.Patch.JSON()) {
		t.Errorf("with invented fields: got patch %s, want %s", got.Patch.JSON(), out.Patch.JSON())
	}
	held(t, c, raw, got)
	var after map[string]any
	if err := json.Unmarshal(applied(t, raw, got.Patch.JSON()), &after); err != nil {
		t.Fatal(err)
	}
	if after["inventedField"] == nil || podSpec(after)["inventedField"] == nil {
		t.Error("the object lost an invented field")
	}
	for _, key := range []string{"initContainers", "containers"} {
		for _, container := range containers(podSpec(after), key) {
			if container["inventedField"] != container["name"] {
				t.Errorf("container %v: got invented field %v", container["name"], container["inventedField"])
			}
		}
	}
}

func applied(t *testing.T, raw, patch []byte) []byte {
	t.Helper()
	if patch == nil {
		return raw
	}
	decoded, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		t.Fatalf("decode patch %s: %v", patch, err)
	}
	out, err := decoded.Apply(raw)
	if err != nil {
		t.Fatalf("apply patch %s: %v", patch, err)
	}
	return out
}

type operation struct {
	Op, From, Path string
	Value          any
}

// without returns the object without what the patch names, so that before and after can be compared. Moved containers are
// compared by name.
func without(t *testing.T, raw, patch []byte) any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	var operations []operation
	if patch != nil {
		if err := json.Unmarshal(patch, &operations); err != nil {
			t.Fatal(err)
		}
	}
	metadata := podMetadata(object)
	annotations, _ := metadata["annotations"].(map[string]any)
	for _, o := range operations {
		_, tail, _ := strings.Cut(o.Path, "/metadata/annotations")
		key := strings.NewReplacer("~1", "/", "~0", "~").Replace(strings.TrimPrefix(tail, "/"))
		field := o.Path[strings.LastIndexByte(o.Path, '/')+1:]
		switch {
		case strings.HasSuffix(o.Path, "/metadata") && o.Op == "add" || strings.HasSuffix(o.Path, "/metadata/annotations"):
			for k := range annotations {
				if values, ok := o.Value.(map[string]any); ok && values[k] != nil {
					delete(annotations, k)
				}
			}
		case strings.Contains(o.Path, "/metadata/annotations/"):
			delete(annotations, key)
		case o.Op == "move":
			slices.SortFunc(podSpec(object)["initContainers"].([]any), func(a, b any) int {
				return strings.Compare(a.(map[string]any)["name"].(string), b.(map[string]any)["name"].(string))
			})
		case o.Op == "add" && (field == "restartPolicy" || field == "runAsGroup" || field == "securityContext"):
			for _, container := range containers(podSpec(object), "initContainers") {
				delete(container, field)
				if security, ok := container["securityContext"].(map[string]any); ok {
					delete(security, field)
				}
			}
		default:
			t.Errorf("got operation %+v, want annotations, moves, restartPolicy and runAsGroup only", o)
		}
	}
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	return object
}

// pod returns the pod inside an object: itself, or its template.
func podIn(object map[string]any) map[string]any {
	spec, _ := object["spec"].(map[string]any)
	if job, ok := spec["jobTemplate"].(map[string]any); ok {
		spec, _ = job["spec"].(map[string]any)
	}
	if template, ok := spec["template"].(map[string]any); ok {
		return template
	}
	return object
}

func podSpec(object map[string]any) map[string]any {
	return podIn(object)["spec"].(map[string]any)
}

func podMetadata(object map[string]any) map[string]any {
	pod := podIn(object)
	metadata, ok := pod["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		pod["metadata"] = metadata
	}
	return metadata
}

func containers(spec map[string]any, key string) []map[string]any {
	entries, _ := spec[key].([]any)
	out := make([]map[string]any, len(entries))
	for i, e := range entries {
		out[i] = e.(map[string]any)
	}
	return out
}

// described writes down everything that a plan says.
func described(p *injectors.Plan) []string {
	var out []string
	for _, steps := range [][]injectors.Step{p.Inits, p.Mains} {
		for i := range steps {
			s := &steps[i]
			line := fmt.Sprintf("%s phase %d %v index %d gid %d gated %v network %v names %v", s.Name, s.Phase, s.Role, s.Index, s.GID, s.Gated,
				p.Network(s, injectors.Endpoint{}), p.Names(s))
			for _, to := range s.To {
				line += fmt.Sprintf(" to %v %v", to, p.Network(s, to))
			}
			out = append(out, line)
		}
	}
	for i := range p.Meshes {
		m := &p.Meshes[i]
		out = append(out, fmt.Sprintf("mesh %s cni %v native %v hold %v capture %+v", m.Injector.Name, m.CNI, m.Native, m.Hold, m.Capture))
	}
	return out
}

func errorsLeft(p *injectors.Plan, c *config.Config) []string {
	findings := slices.DeleteFunc(validators.Judge(p, c), func(f report.Finding) bool { return f.Severity < report.Error })
	return report.Codes(findings)
}

// order is the list of init containers; a star marks a native sidecar.
func order(p *injectors.Plan) []string {
	var out []string
	for i := range p.Inits {
		name := p.Inits[i].Name
		if p.Inits[i].Phase == injectors.Native {
			name += "*"
		}
		out = append(out, name)
	}
	return out
}

func list(entries []string) string {
	if len(entries) == 0 {
		return "none"
	}
	return strings.Join(entries, ", ")
}

func indented(t *testing.T, patch []byte) []byte {
	t.Helper()
	if patch == nil {
		return nil
	}
	var operations []json.RawMessage
	if err := json.Unmarshal(patch, &operations); err != nil {
		t.Fatal(err)
	}
	lines := make([]string, len(operations))
	for i, o := range operations {
		lines[i] = "  " + string(o)
	}
	return []byte("[\n" + strings.Join(lines, ",\n") + "\n]\n")
}
