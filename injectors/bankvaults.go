package injectors

import (
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"
)

// Bank-Vaults' annotations, at 1.23.1 (vault-secrets-webhook, pkg/common/common.go).
const (
	bankVaultsDomain     = "vault.security.banzaicloud.io/"
	bankVaultsMutate     = bankVaultsDomain + "mutate"
	bankVaultsContainers = bankVaultsDomain + "mutate-containers"
	bankVaultsAddr       = bankVaultsDomain + "vault-addr"
	bankVaultsAgent      = bankVaultsDomain + "vault-agent"
	bankVaultsAgentMap   = bankVaultsDomain + "vault-agent-configmap"
	bankVaultsAgentOnce  = bankVaultsDomain + "vault-agent-once"
	bankVaultsCT         = bankVaultsDomain + "vault-ct-configmap"
	bankVaultsCTOnce     = bankVaultsDomain + "vault-ct-once"
	bankVaultsFromPath   = bankVaultsDomain + "vault-env-from-path"
	bankVaultsTokenMount = bankVaultsDomain + "token-auth-mount"
	bankVaultsUser       = bankVaultsDomain + "run-as-user"
	bankVaultsGroup      = bankVaultsDomain + "run-as-group"

	// bankVaultsLabel keeps pods from the webhook, which its chart lets the API server see to (objectSelector).
	bankVaultsLabel = "security.banzaicloud.io/mutate"

	// The volume that says that a pod has been seen to, and what wrapped containers run.
	bankVaultsVolume  = "vault-env"
	bankVaultsWrapper = "/vault/vault-env"

	bankVaultsAgentEnv = "VAULT_AGENT"
)

// BankVaults is the secrets webhook of Bank-Vaults. It wraps the user's containers that ask for secrets in their environment:
// each fetches them when it starts, before its own program. Its own init containers come before all others:
//
//	[copy-vault-token or vault-agent, copy-vault-env, consul-template, the user's...]
//
// What a value that comes from a ConfigMap or a Secret asks for cannot be read here, nor which containers mutate-containers
// leaves out. A token in the webhook's own environment makes vault-agent superfluous; it is a secret, and not read either.
func BankVaults() *Injector {
	i := &Injector{
		Name: "bank-vaults", Title: "Bank-Vaults",
		Facts:      "vault-secrets-webhook 1.23.1 and its main branch (pkg/webhook/{pod,config}.go, its chart); mutate-containers is not verified",
		Containers: map[string]Role{"copy-vault-env": Helper, "copy-vault-token": Helper},
		// The first is what HashiCorp's injector calls its sidecar.
		Common: map[string]Role{"vault-agent": Dialer, "consul-template": Dialer},
		Wraps:  func(c *corev1.Container) bool { return len(c.Command) > 0 && c.Command[0] == bankVaultsWrapper },
		Owns: func(h *Hook) (service string, ok bool) {
			return h.Service, strings.HasPrefix(h.Name, "pods.") && strings.HasSuffix(h.Name, ".admission.banzaicloud.com")
		},
		Read: readBankVaults,
		Reads: Reads{
			Deployments: []string{nameLabel + "=vault-secrets-webhook"},
			Environment: []string{"VAULT_ADDR", bankVaultsAgentEnv, "RUN_AS_USER", "RUN_AS_GROUP"},
		},
		Marked:      bankVaultsMarked,
		Wants:       bankVaultsWants,
		Asked:       bankVaultsAsked,
		Muddle:      bankVaultsMuddle,
		Annotations: bankVaultsAnnotations(),
		WithoutSidecar: func(t *Target) (key, value string) {
			if t.Annotation(bankVaultsCT) == "" || flag(t, bankVaultsCTOnce, false) {
				return "", ""
			}
			return bankVaultsCTOnce, "true"
		},
	}
	i.Inject = func(p *Plan, s *Settings) { bankVaultsInjects(p, i, s) }
	i.Dials = func(p *Plan, c *corev1.Container) (Endpoint, bool) { return bankVaultsDials(p, i, c) }
	return i
}

func bankVaultsMarked(t *Target) bool { return hasVolume(t, bankVaultsVolume) }

// readBankVaults takes what the webhook's Deployment says in its environment; what it does not say has a default
// (SetConfigDefaults).
func readBankVaults(src *Sources, service string) *Settings {
	s := &Settings{Missing: src.Missing}
	d, ok := src.behind(service, func(d *Deployment) bool { return d.Labels[nameLabel] == "vault-secrets-webhook" })
	if !ok {
		s.missing("no Deployment labelled %s=vault-secrets-webhook", nameLabel)
		return s
	}
	s.Address = "https://vault:8200"
	if address := d.Env["VAULT_ADDR"]; address != "" {
		s.Address = address
	}
	s.UID, _ = strconv.ParseInt(d.Env["RUN_AS_USER"], 0, 64)
	s.GID, _ = strconv.ParseInt(d.Env["RUN_AS_GROUP"], 0, 64)
	s.Metadata = map[string]string{bankVaultsAgentEnv: d.Env[bankVaultsAgentEnv]}
	return s
}

// bankVaultsWants is what MutatePod looks for. References are only counted where the pod says by an annotation that it has to
// do with the webhook: most environments have some.
func bankVaultsWants(t *Target, _ *Settings) Tri {
	if bankVaultsMarked(t) || t.Annotation(bankVaultsMutate) == "skip" {
		return No
	}
	if t.Annotation(bankVaultsCT) != "" || t.Annotation(bankVaultsAgentMap) != "" || t.Annotation(bankVaultsFromPath) != "" {
		return Yes
	}
	references := false
	for _, list := range [...][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for i := range list {
			if inEnvironment(&list[i], bankVaultsValue) {
				return Yes
			}
			references = references || refers(&list[i])
		}
	}
	if references && bankVaultsAnnotated(t) {
		return Unknown
	}
	return No
}

// bankVaultsValue tells whether a value of the environment asks for a secret.
func bankVaultsValue(value string) bool {
	return strings.HasPrefix(value, "vault:") || strings.HasPrefix(value, ">>vault:") || strings.Contains(value, "${vault:") || strings.Contains(value, "${>>vault:")
}

func bankVaultsAnnotated(t *Target) bool {
	for key := range t.Meta.Annotations {
		if strings.HasPrefix(key, bankVaultsDomain) {
			return true
		}
	}
	return false
}

// bankVaultsAsked: a value counts that names a path and a key. vault:8200 may be an address, and is for the webhook to fail on.
func bankVaultsAsked(t *Target) Tri {
	switch {
	case bankVaultsSkips(t) != "":
		return No
	case t.Annotation(bankVaultsCT) != "", t.Annotation(bankVaultsAgentMap) != "", t.Annotation(bankVaultsFromPath) != "", bankVaultsSecretive(t) != "":
		return Yes
	}
	return Unknown
}

// bankVaultsSecretive returns the first container whose environment asks for a secret beyond doubt, "" where there is none.
func bankVaultsSecretive(t *Target) string {
	for _, list := range [...][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for i := range list {
			if inEnvironment(&list[i], func(v string) bool { return bankVaultsValue(v) && strings.Contains(v, "#") }) {
				return list[i].Name
			}
		}
	}
	return ""
}

// bankVaultsSkips returns what keeps the pod from the webhook, "" where nothing does.
func bankVaultsSkips(t *Target) string {
	switch {
	case t.Meta.Labels[bankVaultsLabel] == "skip":
		return "label " + bankVaultsLabel
	case t.Annotation(bankVaultsMutate) == "skip":
		return "annotation " + bankVaultsMutate
	}
	return ""
}

func bankVaultsMuddle(t *Target) []Muddle {
	if bankVaultsMarked(t) {
		return nil
	}
	var out []Muddle
	if skips := bankVaultsSkips(t); skips != "" {
		if name := bankVaultsSecretive(t); name != "" {
			out = append(out, Muddle{
				What: strconv.Quote(name) + " asks Bank-Vaults for secrets, and " + skips + ": skip keeps the pod from it",
				Fix:  "Remove the " + skips + ".",
			})
		}
	}
	for _, pair := range [...][2]string{{bankVaultsCTOnce, bankVaultsCT}, {bankVaultsAgentOnce, bankVaultsAgentMap}} {
		if _, set := t.Meta.Annotations[pair[0]]; set && t.Annotation(pair[1]) == "" {
			out = append(out, Muddle{
				What: "annotation " + pair[0] + " does nothing without " + pair[1],
				Fix:  "Name the ConfigMap in " + pair[1] + ", or remove the annotation.",
			})
		}
	}
	return out
}

// bankVaultsInjects prepends, so that the last that is added comes first (MutatePod, getInitContainers).
func bankVaultsInjects(p *Plan, i *Injector, s *Settings) {
	t := p.Target
	if bankVaultsMarked(t) || p.has(i) {
		return
	}
	if t.Annotation(bankVaultsContainers) != "" {
		p.Doubt("which containers " + bankVaultsContainers + " leaves out is not evaluated")
	}
	address, ok := bankVaultsReach(p, s)
	to := p.foreseen(i, address, ok)
	all := t.Annotation(bankVaultsFromPath) != ""
	wrapped := p.wrap(i, func(_ *Step, c *corev1.Container) ([]Endpoint, bool) {
		return to, all || inEnvironment(c, bankVaultsValue)
	})

	step := Step{Injector: i}
	step.UID, step.GID = bankVaultsIDs(t, s)
	add := func(name string, role Role, phase Phase) {
		step.Name, step.Role, step.Phase, step.To = name, role, phase, nil
		if role == Dialer {
			step.To = to
		}
		p.Add(step, true)
	}
	template := t.Annotation(bankVaultsCT) != ""
	switch {
	case template && flag(t, bankVaultsCTOnce, false):
		add("consul-template", Dialer, Init)
	case template:
		add("consul-template", Dialer, Main)
	}
	if wrapped {
		add("copy-vault-env", Helper, Init)
	}
	bankVaultsLogin(t, s, wrapped, template, add)
}

// bankVaultsLogin adds what gets a token for the others, and the agent that the user configures.
//
//	token-auth-mount         copy-vault-token, where anything is done to the pod
//	vault-agent, a template  the init container vault-agent, likewise
//	vault-agent-configmap    the container vault-agent, unless vault-agent is on; beside a template the API server refuses
//	                         two containers of one name
func bankVaultsLogin(t *Target, s *Settings, wrapped, template bool, add func(string, Role, Phase)) {
	configured := t.Annotation(bankVaultsAgentMap) != ""
	login := flag(t, bankVaultsAgent, truthy(s.Metadata[bankVaultsAgentEnv], false))
	if configured && !login && !template {
		add("vault-agent", Dialer, Main)
	}
	if !wrapped && !template && !configured {
		return
	}
	switch {
	case t.Annotation(bankVaultsTokenMount) != "":
		add("copy-vault-token", Helper, Init)
	case login || template:
		add("vault-agent", Dialer, Init)
	}
}

// bankVaultsIDs are those of the security context that the injected containers get (getBaseSecurityContext): the annotation's,
// else the webhook's own; where they say 0, or nothing, the pod's.
func bankVaultsIDs(t *Target, s *Settings) (uid, gid int64) {
	uid, gid = podIDs(t)
	if id := annotatedID(t, bankVaultsUser, s.UID); id > 0 {
		uid = id
	}
	if id := annotatedID(t, bankVaultsGroup, s.GID); id > 0 {
		gid = id
	}
	return uid, gid
}

func bankVaultsReach(p *Plan, s *Settings) (Endpoint, bool) {
	return p.reach(said(p.Target, bankVaultsAddr, s.Address), httpproxy.Config{})
}

// bankVaultsDials: all that the webhook injects or wraps has the address in its environment.
func bankVaultsDials(p *Plan, i *Injector, c *corev1.Container) (Endpoint, bool) {
	if address := variable(c, "VAULT_ADDR"); address != "" {
		return p.reach(address, proxies(c))
	}
	s := p.Settings(i)
	if s == nil {
		s = unknownSettings()
	}
	return bankVaultsReach(p, s)
}

// bankVaultsAnnotations are those of pkg/common/common.go. Booleans that cannot be read are false, without a word.
func bankVaultsAnnotations() []Annotation {
	var known []Annotation
	for _, name := range [...]string{
		"vault-agent", "vault-agent-once", "vault-ct-once", "vault-ct-inject-in-initcontainers", "vault-env-daemon", "vault-skip-verify",
		"vault-agent-share-process-namespace", "vault-ct-share-process-namespace", "mutate-probes", "psp-allow-privilege-escalation", "readonly-root-fs",
		"registry-skip-verify", "run-as-non-root",
	} {
		known = append(known, Annotation{Key: bankVaultsDomain + name, Check: checkBoolean})
	}
	for _, name := range [...]string{
		"mutate", "mutate-containers", "run-as-user", "run-as-group", "enable-json-log", "log-level", "token-auth-mount", "service-account-token-volume-name",
		"transit-key-id", "transit-path", "transit-batch-size", "vault-addr", "vault-auth-method", "vault-client-timeout", "vault-configfile-path",
		"vault-env-delay", "vault-env-from-path", "vault-env-image", "vault-env-image-pull-policy", "vault-env-passthrough", "vault-ignore-missing-secrets",
		"vault-image", "vault-image-pull-policy", "vault-namespace", "vault-path", "vault-role", "vault-serviceaccount", "vault-tls-secret",
		"vault-agent-configmap", "vault-agent-cpu", "vault-agent-cpu-limit", "vault-agent-cpu-request", "vault-agent-env-variables", "vault-agent-memory",
		"vault-agent-memory-limit", "vault-agent-memory-request", "vault-ct-configmap", "vault-ct-cpu", "vault-ct-image", "vault-ct-memory",
		"vault-ct-pull-policy", "vault-ct-secrets-mount-path",
	} {
		known = append(known, Annotation{Key: bankVaultsDomain + name})
	}
	return known
}
