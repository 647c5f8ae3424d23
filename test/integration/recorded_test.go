package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestRecordedPods plays the pods that the real injectors made, and holds their plans against the kernel.
func TestRecordedPods(t *testing.T) {
	s := shared
	if s.rig == nil {
		t.Skip("the kernel rig does not run on this machine; with CI set that is a failure")
	}
	files, err := filepath.Glob(filepath.Join("..", "vaultinjector", "testdata", "recorded", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var pod corev1.Pod
			if err := json.Unmarshal(data, &pod); err != nil {
				t.Fatal(err)
			}
			s.judge(t, &pod, s.kernel(t, &pod))
		})
	}
}
