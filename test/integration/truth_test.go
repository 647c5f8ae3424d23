package integration

import (
	"testing"

	"holdfast.dev/holdfast/test/truth"
)

// TestTruthTable makes every pod of the table with the real programs and lets the kernel judge it. Holdfast is not asked: the
// namespace is not its.
func TestTruthTable(t *testing.T) {
	shared.namespace(t, "plain", nil)
	modes := map[truth.Row][]truth.Row{}
	var ordered []truth.Row
	for _, row := range truth.Table() {
		m := truth.Row{Native: row.Native, CNI: row.CNI, Reinvoked: row.Reinvoked}
		if len(modes[m]) == 0 {
			ordered = append(ordered, m)
		}
		modes[m] = append(modes[m], row)
	}
	for _, m := range ordered {
		t.Run(modes[m][0].Mode(), func(t *testing.T) {
			shared.istio(t, mode(m))
			for _, row := range modes[m] {
				t.Run(row.String(), func(t *testing.T) {
					pod, err := shared.dryRun(t.Context(), web("plain", row.InitFirst))
					if err != nil {
						t.Fatal(err)
					}
					if got := order(pod); got != row.Order {
						t.Errorf("init containers: got %s, want %s", got, row.Order)
					}
					if shared.rig == nil {
						return
					}
					if got := shared.kernel(t, pod); got != row.Verdicts() {
						t.Errorf("migrate, vault-agent-init, app: got %s, want %s", got, row.Verdicts())
					}
				})
			}
		})
	}
}
