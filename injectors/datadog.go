package injectors

import "strings"

// Keys of Datadog's admission controller (datadog-agent, pkg/clusteragent/admission).
const (
	datadogDomain  = "admission.datadoghq.com/"
	datadogEnabled = datadogDomain + "enabled" // a label

	// datadogWorkload is what workload security leaves on a pod.
	datadogWorkload = datadogDomain + "cws-instrumentation.status"
)

// Datadog is the admission controller of Datadog's cluster agent: init containers that copy libraries (before all others), an
// agent beside the app on machines that have none, and environment variables. None of its containers needs the network to start,
// so what it does matters to no plan: it has no Inject.
func Datadog() *Injector {
	volume, container := beginning("datadog-auto-instrumentation"), beginning("datadog-agent-injected")
	marked := func(t *Target) bool {
		return t.Annotation(datadogWorkload) == "ready" || t.anyVolume(volume) || t.anyContainer(container)
	}
	return &Injector{
		Name: "datadog", Title: "Datadog",
		Facts: "datadog-agent, its main of 2026 (pkg/clusteragent/admission); which pods single step instrumentation takes is in the cluster " +
			"agent's own configuration, and not known",
		Containers: map[string]Role{
			"datadog-init-apm-inject": Helper, "datadog-lib-*": Helper, "datadog-agent-injected": Helper, "cws-instrumentation": Helper,
		},
		// One webhook for each thing that it adds: datadog.webhook.lib.injection and others.
		Owns:   func(h *Hook) (string, bool) { return h.Service, strings.HasPrefix(h.Name, "datadog.webhook.") },
		Marked: marked,
		Wants: func(t *Target, _ *Settings) Tri {
			if marked(t) || datadogAsked(t) == No {
				return No
			}
			return Unknown
		},
		Asked:   datadogAsked,
		Decline: Decline{Key: datadogEnabled, Value: "false", Label: true},
		Muddle:  datadogMuddle,
		// LANGUAGE-lib.version, CONTAINER.LANGUAGE-lib.version and others: a name of the user's stands before them.
		Annotations: []Annotation{{Key: datadogDomain}},
	}
}

// datadogAsked is the label that the webhooks' objectSelectors look at: either every pod is taken that does not say false, or
// none that does not say true (DefaultLabelSelectors).
func datadogAsked(t *Target) Tri {
	switch t.Meta.Labels[datadogEnabled] {
	case "true":
		return Yes
	case "false":
		return No
	}
	return Unknown
}

// datadogMuddle: with the label saying false no webhook is called, whatever the annotations ask for.
func datadogMuddle(t *Target) []Muddle {
	if datadogAsked(t) != No {
		return nil
	}
	first := ""
	for key := range t.Meta.Annotations {
		if strings.HasPrefix(key, datadogDomain) && strings.HasSuffix(key, "-lib.version") && (first == "" || key < first) {
			first = key
		}
	}
	if first == "" {
		return nil
	}
	return []Muddle{{
		What: "annotation " + first + " and label " + datadogEnabled + "=false: the label has Datadog's webhooks not called.",
		Fix:  "Label the template: " + datadogEnabled + `: "true"`,
	}}
}
