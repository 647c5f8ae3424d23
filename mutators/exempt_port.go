package mutators

import (
	"cmp"
	"slices"
	"strings"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// exemptPort exempts the dialer's destination from the redirect, by port: for every address, and for the app too.
func exemptPort() Remedy {
	return Remedy{
		Name:  config.ExemptPort,
		Title: "The dialer's port leaves the redirect, for every destination and for the app too.",
		Never: "unless switched on; never ports 53, 80 and 443.",
		act: func(d *draft) {
			for i := range d.plan.Inits {
				d.exemptDialer(i, injectors.ExcludePorts, d.ports)
			}
		},
	}
}

func (d *draft) ports(s *injectors.Step, list string) (string, bool) {
	all, err := injectors.ParsePorts(list)
	if err != nil {
		return "", false
	}
	before := len(all)
	for _, to := range s.To {
		switch to.Port {
		case 0, 53, 80, 443:
		default:
			all = append(all, injectors.Ports{First: to.Port, Last: to.Port})
		}
	}
	if len(all) == before {
		return "", false
	}
	slices.SortFunc(all, func(a, b injectors.Ports) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	all = slices.Compact(all)
	out := make([]string, len(all))
	for i, p := range all {
		out[i] = p.String()
	}
	return strings.Join(out, ","), true
}
