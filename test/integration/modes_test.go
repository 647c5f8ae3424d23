package integration

import "holdfast.dev/holdfast/test/truth"

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
