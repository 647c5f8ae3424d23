package injectors

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Keys of Azure's workload identity (azure-workload-identity, pkg/webhook/consts.go at 1.6.0).
const (
	azureDomain     = "azure.workload.identity/"
	azureUse        = azureDomain + "use" // a label
	azureProxy      = azureDomain + "inject-proxy-sidecar"
	azureProxyPort  = azureDomain + "proxy-sidecar-port"
	azureExpiration = azureDomain + "service-account-token-expiration"
)

var (
	errNotSeconds   = errors.New("not a number of seconds from 3600 to 86400")
	errNotProxyPort = errors.New("not a port")
)

// AzureWorkloadIdentity is Azure's workload identity webhook. It gives containers a token, and where a pod asks for it a proxy
// that answers for the machine's metadata service: azwi-proxy-init redirects connections to 169.254.169.254:80 and to nothing
// else (so this is no mesh), azwi-proxy stands before all other containers, as a native sidecar where the API server is 1.32 or
// newer. Both start without the network.
func AzureWorkloadIdentity() *Injector {
	volume := beginning("azure-workload-identity-reserved-", "azure-identity-token") // of 1.6 and of older releases
	marked := func(t *Target) bool { return t.anyVolume(volume) }
	i := &Injector{
		Name: "azure-workload-identity", Title: "Azure workload identity",
		Facts:      "azure-workload-identity 1.6.0 and its main of 2026 (pkg/webhook)",
		Containers: map[string]Role{"azwi-proxy-init": Helper, "azwi-proxy": Helper},
		Owns:       func(h *Hook) (string, bool) { return h.Service, h.Name == "mutation.azure-workload-identity.io" },
		Read: func(src *Sources, _ string) *Settings {
			return &Settings{Native: azureNative(src.Kubelets), Missing: src.Missing}
		},
		Marked: marked,
		// Called again it looks once more at every container, and changes none of those that matter here.
		Wants: func(t *Target, _ *Settings) Tri {
			return TriOf(!marked(t) && azureAsked(t) == Yes && (!azureProxied(t) || !t.Spec.HostNetwork))
		},
		Asked:       azureAsked,
		Decline:     Decline{Key: azureUse, Value: "false", Label: true},
		CA:          CA{Secret: "azure-wi-webhook-server-cert", Key: "ca.crt"}, //nolint:gosec // a name: cmd/webhook/main.go, with cert-controller's keys
		Muddle:      azureMuddle,
		Annotations: azureAnnotations(),
	}
	i.Inject = func(p *Plan, s *Settings) { azureInjects(p, i, s) }
	return i
}

// azureNative: the webhook asks the API server for its version. A kubelet is never newer than that, and at most three minor
// releases older.
func azureNative(kubelets []string) Tri {
	older := func(minor int) bool {
		return len(kubelets) > 0 && !slices.ContainsFunc(kubelets, func(v string) bool { return allKubelets([]string{v}, minor) == Yes })
	}
	switch {
	case len(kubelets) == 0:
		return Unknown
	case !older(32):
		return Yes
	case older(29):
		return No
	}
	return Unknown
}

// azureAsked: the label is what the webhook's objectSelector looks for.
func azureAsked(t *Target) Tri {
	value, ok := t.Meta.Labels[azureUse]
	if !ok {
		return Unknown
	}
	return TriOf(value == "true")
}

// azureProxied: the annotation alone counts, whatever its value (shouldInjectProxySidecar).
func azureProxied(t *Target) bool {
	_, asks := t.Meta.Annotations[azureProxy]
	return asks
}

func azureMuddle(t *Target) []Muddle {
	if !azureProxied(t) {
		return nil
	}
	var out []Muddle
	switch value := t.Annotation(azureProxy); {
	case azureAsked(t) != Yes:
		return []Muddle{{
			What: "annotation " + azureProxy + " does nothing without label " + azureUse + "=true: the webhook is not called.",
			Fix:  "Label the template: " + azureUse + `: "true"`,
		}}
	case value != "true":
		out = append(out, Muddle{
			What: "annotation " + azureProxy + `: "` + value + `" asks for the proxy all the same: its value is not read.`,
			Fix:  "Remove the annotation, or write " + azureProxy + `: "true"`,
		})
	}
	if t.Spec.HostNetwork {
		out = append(out, Muddle{
			What: "annotation " + azureProxy + " on a pod with hostNetwork: the webhook denies the pod.",
			Fix:  "Remove the annotation " + azureProxy + ".",
		})
	}
	return out
}

// azureInjects adds the proxy, and the init container behind the others (Handle in pkg/webhook/webhook.go). The proxy's postStart
// hook asks the proxy itself whether it answers.
func azureInjects(p *Plan, i *Injector, s *Settings) {
	if !azureProxied(p.Target) || p.Target.Spec.HostNetwork || p.has(i) {
		return
	}
	_, gid := podIDs(p.Target)
	p.Add(Step{Name: "azwi-proxy-init", Phase: Init, Role: Helper, Injector: i, UID: 0, GID: gid}, false)
	proxy := Step{Name: "azwi-proxy", Phase: Main, Role: Helper, Injector: i, Gated: true}
	proxy.UID, proxy.GID = podIDs(p.Target)
	if s.Native == Yes {
		proxy.Phase = Native
	}
	p.Add(proxy, true)
}

func azureAnnotations() []Annotation {
	seconds := func(value string) error {
		if n, err := strconv.ParseInt(value, 10, 64); value != "" && (err != nil || n < 3600 || n > 86400) {
			return fmt.Errorf("%q: %w", value, errNotSeconds)
		}
		return nil
	}
	port := func(value string) error {
		if _, err := strconv.ParseInt(value, 10, 32); err != nil {
			return fmt.Errorf("%q: %w", value, errNotProxyPort)
		}
		return nil
	}
	return []Annotation{
		{Key: azureExpiration, Check: seconds, Denied: true},
		{Key: azureProxyPort, Check: port, Denied: true}, // read where the proxy is asked for
		{Key: azureProxy},
		{Key: azureDomain + "skip-containers"},
		{Key: azureDomain + "use-identity-binding"},
	}
}
