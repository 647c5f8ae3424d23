//go:build linux

package kernel_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// recorded is where pods lie as the API server answered them, real injectors and all, named after their row.
const recorded = "../vaultinjector/testdata/recorded"

// TestRecorded holds the hand-made pods of TestTruthTable against real ones: the same rows, the same verdicts.
func TestRecorded(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	want := map[string]string{
		"init-classic":                  "migrate D, vault-agent-init X, app X", // Row 1.
		"init-classic-agent-init-first": "vault-agent-init D, migrate D, app X", // Row 2.
		"cni-classic":                   "migrate X, vault-agent-init X, app X", // Row 5.
		"init-native":                   "migrate P, vault-agent-init P, app P", // Row 9.
		"cni-native-agent-init-first":   "vault-agent-init X, migrate P, app P", // Row 14.
	}
	files, err := filepath.Glob(recorded + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := len(files); got != len(want) {
		t.Errorf("got %d recordings in %s, want %d", got, recorded, len(want))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var pod corev1.Pod
			if err := json.Unmarshal(data, &pod); err != nil {
				t.Fatal(err)
			}
			got := play(t, rig, &pod, vault)
			if diff := cmp.Diff(want[name], letters(got)); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s%v", diff, got)
			}
		})
	}
}
