// Package truth is the measured table of what happens where Istio and Vault meet: 16 ways in which their injectors make a
// pod, and who in it reaches the network. It was measured with the real programs (kube-apiserver 1.36.3, istiod at
// 1.31-alpha, vault-k8s 1.7.6, istio-iptables in a network namespace); tests hold plans and the kernel against it.
package truth

import (
	"fmt"
	"strings"
)

// Row is one way to make the pod: an init container "migrate", a container "app", annotated for Vault, in Istio's mesh.
type Row struct {
	Number                            int
	Native, CNI, Reinvoked, InitFirst bool

	// Order is the list of init containers after admission; a star marks a native sidecar.
	Order string
	// Who reaches Vault: D directly, P through the proxy, X refused.
	Migrate, Vault, App byte
}

// Verdicts returns the three letters in a row.
func (r Row) Verdicts() string { return string([]byte{r.Migrate, r.Vault, r.App}) }

// Stuck tells that the pod hangs in Init for ever because Vault's container is refused.
func (r Row) Stuck() bool { return r.Vault == 'X' }

// String names the row for people.
func (r Row) String() string {
	s := fmt.Sprintf("row %d %s", r.Number, r.Mode())
	if r.InitFirst {
		s += " init-first"
	}
	return s
}

// Mode names what of the row is Istio's: rows come in pairs that share it.
func (r Row) Mode() string {
	return pick(r.Native, "native", "classic") + " " + pick(r.CNI, "CNI", "init") + " " + pick(r.Reinvoked, "IfNeeded", "Never")
}

func pick(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// Table returns all rows.
func Table() []Row {
	orders := []string{
		"migrate, istio-init, vault-agent-init DXX",
		"vault-agent-init, migrate, istio-init DDX",
		"migrate, vault-agent-init, istio-init DDX",
		"vault-agent-init, migrate, istio-init DDX",
		"istio-validation, migrate, vault-agent-init XXX",
		"vault-agent-init, istio-validation, migrate XXX",
		"istio-validation, migrate, vault-agent-init XXX",
		"istio-validation, vault-agent-init, migrate XXX",
		"istio-init, istio-proxy*, migrate, vault-agent-init PPP",
		"vault-agent-init, istio-init, istio-proxy*, migrate PDP",
		"istio-init, istio-proxy*, migrate, vault-agent-init PPP",
		"istio-init, istio-proxy*, vault-agent-init, migrate PPP",
		"istio-validation, istio-proxy*, migrate, vault-agent-init PPP",
		"vault-agent-init, istio-validation, istio-proxy*, migrate PXP",
		"istio-validation, istio-proxy*, migrate, vault-agent-init PPP",
		"istio-validation, istio-proxy*, vault-agent-init, migrate PPP",
	}
	rows := make([]Row, len(orders))
	for i, o := range orders {
		cut := strings.LastIndexByte(o, ' ')
		rows[i] = Row{
			Number: i + 1, Native: i >= 8, CNI: i&4 != 0, Reinvoked: i&2 != 0, InitFirst: i&1 != 0,
			Order: o[:cut], Migrate: o[cut+1], Vault: o[cut+2], App: o[cut+3],
		}
	}
	return rows
}
