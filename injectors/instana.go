package injectors

// Labels of Instana's AutoTrace webhook (instana-autotrace-webhook, README).
const (
	instanaLabel   = "instana-autotrace"
	instanaApplied = "instana-autotrace-applied"
)

// Instana is Instana's AutoTrace webhook, of its own chart or of the agent's operator: an init container that copies libraries, and environment variables. Nothing of that
// needs the network to start, so what it does matters to no plan: it has no Inject.
func Instana() *Injector {
	marked := func(t *Target) bool { return t.Meta.Labels[instanaApplied] == "true" }
	return &Injector{
		Name: "instana", Title: "Instana",
		Facts: "instana-autotrace-webhook (chart and README at 067ef19d03); the webhook itself is closed source, and whether it takes pods that do " +
			"not ask (autotrace.opt_in) and which namespaces it leaves out is not read",
		Containers: map[string]Role{"instana-instrumentation-init": Helper},
		Owns:       func(h *Hook) (string, bool) { return h.Service, h.Name == "autotrace-webhook.instana.com" },
		Marked:     marked,
		Wants: func(t *Target, _ *Settings) Tri {
			if marked(t) || instanaAsked(t) == No {
				return No
			}
			return instanaAsked(t)
		},
		Asked:   instanaAsked,
		Decline: Decline{Key: instanaLabel, Value: "false", Label: true},
	}
}

// instanaAsked: the label counts on pods and on namespaces. No anywhere is no, and yes goes over the namespaces that are left
// out by configuration.
func instanaAsked(t *Target) Tri {
	pod, namespace := t.Meta.Labels[instanaLabel], t.Namespace.Labels[instanaLabel]
	switch {
	case pod == "false" || namespace == "false":
		return No
	case pod == "true" || namespace == "true":
		return Yes
	}
	return Unknown
}
