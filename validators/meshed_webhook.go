package validators

import (
	"strconv"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// meshedWebhook finds pods that answer for a webhook behind a mesh's proxy.
func meshedWebhook() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF143", Name: "meshed-webhook", Severity: report.Warning,
			Title: "A webhook's own pod behind inbound capture",
			Why: "The API server is in no mesh. Where the mesh takes what comes into a webhook's pod and asks callers for its own mutual TLS, the API server's calls fail: with " +
				"failurePolicy Fail nothing that the webhook selects can be created, its own pods perhaps among them; with Ignore it is passed over in silence.",
			Fix: "Let the webhook's port be reached without the proxy, or keep its pods out of the mesh. Remedy webhook-inbound-port does the former where it is switched on.",
		},
		check: func(i *inspection) {
			for k := range i.plan.Meshes {
				if m := &i.plan.Meshes[k]; m.Capture.Inbound.Known {
					i.behind(m)
				}
			}
		},
	}
}

func (i *inspection) behind(m *injectors.Mesh) {
	for _, s := range i.plan.Served() {
		if m.Capture.Inbound.Takes(s.Port) != injectors.Yes {
			continue
		}
		fix := i.openPorts(m, injectors.ExcludeInbound, s.Port)
		if a := m.Injector.Annotation(injectors.IncludeInbound); fix == "" && a != nil {
			fix = "Leave port " + strconv.Itoa(int(s.Port)) + " out of annotation " + a.Key + "."
		}
		if fix == "" {
			fix = "Keep the pod out of the mesh."
		}
		i.find(nil, "the API server calls "+report.Shorten(s.Webhook.Configuration, 60)+" on port "+strconv.Itoa(int(s.Port))+", which "+m.Injector.Title+
			"'s proxy takes: under strict mutual TLS the call fails.", fix)
	}
}
