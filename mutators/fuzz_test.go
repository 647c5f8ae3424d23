package mutators_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/cases"
)

// FuzzPatch sends whatever pod comes in through the remedies, in every place that the cases know: the patch applies to the
// raw object, changes nothing that it does not name, and a second pass is empty.
func FuzzPatch(f *testing.F) {
	var places []*cases.Case
	for _, folder := range []string{"hold", "start-first", "restore-sidecar", "reorder", "exempt-identity", "exempt-address", "exempt-port", "server-first-ports", "webhook-inbound-port"} {
		seeded := false
		for _, file := range cases.Files(f, "testdata", folder) {
			c, err := cases.Read(filepath.Join("testdata", folder, file))
			if err != nil {
				f.Fatal(err)
			}
			if !c.Target.Template() && !c.Validating {
				places = append(places, c)
				if !seeded { // one of each folder: all of them are cases already
					f.Add(c.Raw, uint8(len(places)-1))
					seeded = true
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, place uint8) {
		c := places[int(place)%len(places)]
		if !admissible(raw) {
			return
		}
		target, err := c.Decode(raw)
		if err != nil || target.Kind != "Pod" {
			return
		}
		held(t, c, raw, mutators.Choose(injectors.New(target, c.Env, c.Horizon), c.Config, mutators.Mutating))
	})
}

// admissible tells whether the API server would ask a webhook about the pod: it writes the object itself, from its own
// types, so there is metadata, keys are not repeated and not misspelled in case, and lists of containers have no holes.
func admissible(raw []byte) bool {
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		return false
	}
	again, err := json.Marshal(&pod)
	if err != nil {
		return false
	}
	var given, written any
	if json.Unmarshal(raw, &given) != nil || json.Unmarshal(again, &written) != nil {
		return false
	}
	object, ok := given.(map[string]any)
	return ok && object["metadata"] != nil && subset(given, written) && len(pod.Spec.Containers) > 0
}

// subset tells whether everything in a is in b.
func subset(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !subset(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !subset(a[i], b[i]) {
				return false
			}
		}
		return true
	}
	return a == b
}
