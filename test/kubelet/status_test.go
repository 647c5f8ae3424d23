package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestLastWords(t *testing.T) {
	t.Parallel()
	const falls, file = corev1.TerminationMessageFallbackToLogsOnError, corev1.TerminationMessageReadFile
	for name, c := range map[string]struct {
		policy    corev1.TerminationMessagePolicy
		code      int32
		log, want string
	}{
		"as it is":           {falls, 2, "one\ntwo\n", "one\ntwo\n"},
		"without an end":     {falls, 2, "one\ntwo", "one\ntwo"},
		"80 lines":           {falls, 2, "first\n" + strings.Repeat("x\n", 80), strings.Repeat("x\n", 80)},
		"2048 bytes":         {falls, 2, strings.Repeat("x", 3000), strings.Repeat("x", 2048)},
		"nothing":            {falls, 2, "", ""},
		"it ended well":      {falls, 0, "one\n", ""},
		"the policy is file": {file, 2, "one\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "0.log")
			if err := os.WriteFile(log, []byte(c.log), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := lastWords(&corev1.Container{TerminationMessagePolicy: c.policy}, c.code, log); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
