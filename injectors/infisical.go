package injectors

import (
	"encoding/base64"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Infisical's annotations (infisical-agent-injector, pkg/util/constants.go).
const (
	infisicalDomain = "org.infisical.com/"
	infisicalInject = infisicalDomain + "inject"
	infisicalMode   = infisicalDomain + "inject-mode"
	infisicalMap    = infisicalDomain + "agent-config-map"
	infisicalStatus = infisicalDomain + "agent-status"
	infisicalSet    = infisicalDomain + "agent-set-security-context"
	infisicalUser   = infisicalDomain + "agent-security-context-run-as-user"
	infisicalGroup  = infisicalDomain + "agent-security-context-run-as-group"

	// Ids where a security context is asked for (pkg/agent/agent.go, SecurityContext).
	infisicalUID, infisicalGID = 1000, 2000
)

// Infisical is Infisical's agent injector: an agent before all other init containers, one behind the app, or both. Its address
// is in a ConfigMap beside the pod, which is not read; an injected container of newer releases has it in its environment.
func Infisical() *Injector {
	i := &Injector{
		Name: "infisical", Title: "Infisical",
		Facts:      "infisical-agent-injector (pkg/agent at 10586c8, chart at 46c60ea), of no stated release",
		Containers: map[string]Role{"infisical-agent-init": Dialer, "infisical-agent": Dialer},
		Owns:       func(h *Hook) (service string, ok bool) { return h.Service, h.Name == "org.infisical.com" },
		Marked:     func(t *Target) bool { return t.Annotation(infisicalStatus) == "injected" },
		Wants:      infisicalWants,
		Asked:      infisicalAsked,
		Muddle:     infisicalMuddle,
		Dials:      infisicalDials,
		// The mode is init where nothing is said, so that a sidecar was asked for.
		WithoutSidecar: func(*Target) (key, value string) { return infisicalMode, "init" },
		Annotations: []Annotation{
			{Key: infisicalMode, Check: checkInfisicalMode, Denied: true},
			{Key: infisicalSet, Check: checkInfisicalBoolean, Denied: true},
		},
	}
	for _, name := range [...]string{
		"inject", "agent-config-map", "agent-status", "agent-cache-enabled", "agent-revoke-on-shutdown", "agent-image",
		"agent-security-context-run-as-user", "agent-security-context-run-as-group", "agent-security-context-privileged",
		"agent-security-context-allow-privilege-escalation", "agent-client-max-retries", "agent-client-base-delay", "agent-client-max-delay",
		"agent-limits-cpu", "agent-limits-memory", "agent-limits-ephemeral", "agent-requests-cpu", "agent-requests-memory", "agent-requests-ephemeral",
	} {
		i.Annotations = append(i.Annotations, Annotation{Key: infisicalDomain + name})
	}
	i.Inject = func(p *Plan, _ *Settings) { infisicalInjects(p, i) }
	return i
}

func checkInfisicalMode(value string) error {
	switch value {
	case "", "init", "sidecar", "sidecar-init":
		return nil
	}
	return fmt.Errorf("%q: must be init, sidecar or sidecar-init", value)
}

func checkInfisicalBoolean(value string) error {
	switch value {
	case "", "true", "false":
		return nil
	}
	return fmt.Errorf("%q: %w", value, errNotBoolean)
}

// infisicalWants: a pod that the injector refuses, it does not act on. What is refused for the sake of a value is said of that
// annotation, and planned as if the value were not there.
func infisicalWants(t *Target, _ *Settings) Tri {
	switch {
	case t.Annotation(infisicalInject) != "true", t.Annotation(infisicalStatus) == "injected":
		return No
	case t.Annotation(infisicalMap) == "", infisicalSystem(t):
		return No
	}
	return Yes
}

func infisicalSystem(t *Target) bool {
	return t.Namespace.Name == "kube-system" || t.Namespace.Name == "kube-public"
}

func infisicalAsked(t *Target) Tri {
	value, said := t.Meta.Annotations[infisicalInject]
	if !said {
		return Unknown
	}
	return TriOf(value == "true")
}

func infisicalMuddle(t *Target) []Muddle {
	value, said := t.Meta.Annotations[infisicalInject]
	switch {
	case !said || t.Annotation(infisicalStatus) == "injected":
		return nil
	case value != "true" && truthy(value, false):
		return []Muddle{{
			What: "annotation " + infisicalInject + ": " + `"` + value + `" does nothing: only "true" does`,
			Fix:  "Annotate the template: " + infisicalInject + `: "true"`,
		}}
	case value != "true":
		return nil
	case infisicalSystem(t):
		return []Muddle{{
			What: "Infisical refuses pods that ask for it in namespace " + t.Namespace.Name,
			Fix:  "Remove the annotation " + infisicalInject + ", or use another namespace.",
		}}
	case t.Annotation(infisicalMap) == "":
		return []Muddle{{
			What: "annotation " + infisicalInject + " without " + infisicalMap + ": Infisical refuses the pod",
			Fix:  "Name the ConfigMap in the annotation " + infisicalMap + ".",
		}}
	}
	return nil
}

// infisicalInjects puts the init container before all others and the sidecar behind them (PatchPod).
func infisicalInjects(p *Plan, i *Injector) {
	t := p.Target
	if infisicalWants(t, nil) != Yes || p.has(i) {
		return
	}
	step := Step{Name: "infisical-agent-init", Phase: Init, Role: Dialer, Injector: i}
	step.UID, step.GID = podIDs(t)
	if t.Annotation(infisicalSet) == "true" {
		step.UID, step.GID = infisicalID(t, infisicalUser, infisicalUID), infisicalID(t, infisicalGroup, infisicalGID)
	}
	mode := t.Annotation(infisicalMode)
	if mode != "sidecar" {
		step.To = p.foreseen(i, Endpoint{}, false)
		p.Add(step, true)
	}
	if mode == "sidecar" || mode == "sidecar-init" {
		step.Name, step.Phase, step.To = "infisical-agent", Main, p.destination(i, Endpoint{}, false)
		p.Add(step, false)
	}
}

func infisicalID(t *Target, key string, usual int64) int64 {
	if t.Annotation(key) == "" {
		return usual
	}
	return parseID(t.Annotation(key))
}

// infisicalDials reads the address out of an injected container: the agent's configuration, base64 of YAML, in its environment.
// Older releases have it in a script, which is not read.
func infisicalDials(p *Plan, c *corev1.Container) (Endpoint, bool) {
	raw, err := base64.StdEncoding.DecodeString(variable(c, "INFISICAL_AGENT_CONFIG_BASE64"))
	if err != nil {
		return Endpoint{}, false
	}
	var config struct {
		Infisical struct {
			Address string `json:"address"`
		} `json:"infisical"`
	}
	if yaml.Unmarshal(raw, &config) != nil {
		return Endpoint{}, false
	}
	return p.reach(config.Infisical.Address, proxies(c))
}
