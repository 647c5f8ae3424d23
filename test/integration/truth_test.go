package integration

import (
	"testing"

	"holdfast.dev/holdfast/test/truth"
)

// TestTruthTable makes every pod of the table with the real programs and lets the kernel judge it. Holdfast is not asked: the
// namespace is not its.
func TestTruthTable(t *testing.T) {
	shared.namespace(t, "plain", nil)
	for _, m := range modes() {
		t.Run(m[0].Mode(), func(t *testing.T) {
			shared.istio(t, mode(m[0]))
			for _, row := range m {
				t.Run(row.String(), func(t *testing.T) { shared.measured(t, row) })
			}
		})
	}
}

func (s *suite) measured(t *testing.T, row truth.Row) {
	pod, err := s.dryRun(t.Context(), web("plain", row.InitFirst))
	if err != nil {
		t.Fatal(err)
	}
	if got := order(pod); got != row.Order {
		t.Errorf("init containers: got %s, want %s", got, row.Order)
	}
	if s.rig == nil {
		return
	}
	if got := s.kernel(t, pod); got != row.Verdicts() {
		t.Errorf("migrate, vault-agent-init, app: got %s, want %s", got, row.Verdicts())
	}
}

// modes returns the rows of the truth table in groups that share a mode of Istio.
func modes() [][]truth.Row {
	var out [][]truth.Row
	last := ""
	for _, row := range truth.Table() {
		if row.Mode() != last {
			out, last = append(out, nil), row.Mode()
		}
		out[len(out)-1] = append(out[len(out)-1], row)
	}
	return out
}
