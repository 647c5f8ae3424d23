package mutators

import (
	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// webhookInboundPort lets the API server reach a webhook without the mesh's proxy.
func webhookInboundPort() Remedy {
	return Remedy{
		Name:  config.WebhookInboundPort,
		Title: "The port on which a pod answers as a webhook is reached without the proxy: the API server is in no mesh.",
		Never: "unless switched on; where the mesh cannot exempt a single inbound port, where nobody will read the annotation any more, where it would " +
			"replace a list that is not known, and on values that do not parse.",
		act: func(d *draft) {
			for i := 0; i < len(d.plan.Meshes); i++ { // a plan that is kept may have fewer
				d.letPass(i, injectors.ExcludeInbound, d.called)
			}
		},
	}
}

// called returns the ports of the pod on which the API server calls a webhook and the mesh's proxy answers.
func (d *draft) called(m *injectors.Mesh) []injectors.Ports {
	if d.exempt.meshedWebhook || !d.config.Remedy(config.WebhookInboundPort) {
		return nil
	}
	var out []injectors.Ports
	for _, s := range d.plan.Served() {
		if m.Capture.Inbound.Takes(s.Port) == injectors.Yes {
			out = append(out, injectors.Ports{First: s.Port, Last: s.Port})
		}
	}
	return out
}
