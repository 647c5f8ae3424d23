package mutators

import (
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
			for i := 0; i < len(d.plan.Inits); i++ { // a plan that is kept may be shorter
				d.exemptDialer(i, injectors.ExcludePorts, d.ports)
			}
		},
	}
}

func (d *draft) ports(s *injectors.Step, a *injectors.Annotation, list string) (string, bool) {
	var more []injectors.Ports
	for _, to := range s.To {
		switch to.Port {
		case 0, 53, 80, 443:
		default:
			more = append(more, injectors.Ports{First: to.Port, Last: to.Port})
		}
	}
	if len(more) == 0 {
		return "", false
	}
	value, err := a.AddPorts(list, more...)
	return value, err == nil
}
