package injectors

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	corev1 "k8s.io/api/core/v1"
)

// Vault is HashiCorp's Vault agent injector.
func Vault() *Injector {
	return vaultLike("vault", "Vault", "vault.hashicorp.com", "vault-k8s 1.7.6, vault-helm aa1c92e")
}

// OpenBao is the fork of Vault's injector: the same code under another prefix and with other names.
func OpenBao() *Injector {
	return vaultLike("openbao", "OpenBao", "openbao.openbao.org", "openbao-k8s, as vault-k8s 1.7.6")
}

// vaultKeys are the annotations that decide what is injected, made once.
type vaultKeys struct {
	inject, status, first, prePopulate, prePopulateOnly, sameUser, user, group, setContext, initPatch, service, proxy string
}

func newVaultKeys(domain string) vaultKeys {
	return vaultKeys{
		inject: domain + "/agent-inject", status: domain + "/agent-inject-status", first: domain + "/agent-init-first",
		prePopulate: domain + "/agent-pre-populate", prePopulateOnly: domain + "/agent-pre-populate-only",
		sameUser: domain + "/agent-run-as-same-user", user: domain + "/agent-run-as-user", group: domain + "/agent-run-as-group",
		setContext: domain + "/agent-set-security-context", initPatch: domain + "/agent-init-json-patch",
		service: domain + "/service", proxy: domain + "/proxy-address",
	}
}

// Ids of the injected containers unless the injector is told otherwise (agent-inject/agent/agent.go).
const (
	vaultUID = 100
	vaultGID = 1000
)

// vault states the facts of one agent injector. Names of containers begin with the product's name, annotations with its
// domain.
type vault struct {
	*Injector
	domain string // vault.hashicorp.com
	key    vaultKeys
	// Names of the environment variables that hold the agent's configuration, and its address.
	configEnv, addressEnv string
}

func vaultLike(name, title, domain, facts string) *Injector {
	upper := strings.ToUpper(name)
	v := vault{domain: domain, key: newVaultKeys(domain), configEnv: upper + "_CONFIG", addressEnv: upper + "_ADDR", Injector: &Injector{
		Name: name, Title: title, Facts: facts,
		Containers: map[string]Role{name + "-agent-init": Dialer, name + "-agent": Dialer},
		First:      domain + "/agent-init-first",
	}}
	v.Owns = func(h *Hook) (string, bool) { return "", h.Name == domain }
	v.Read = v.read
	v.Marked = func(t *Target) bool { return t.Annotation(v.key.status) == "injected" }
	v.Wants = v.wants
	v.Inject = v.injects
	v.Dials = v.dials
	v.ReadsFirstContainer = func(t *Target) bool { return truthy(t.Annotation(v.key.sameUser), false) }
	v.Annotations = v.annotations()
	return v.Injector
}

// truthy reads a boolean annotation as the injector does (strconv.ParseBool).
func truthy(value string, otherwise bool) bool {
	if value == "" {
		return otherwise
	}
	b, err := strconv.ParseBool(value)
	return err == nil && b
}

func (v vault) wants(t *Target, _ *Settings) Tri {
	return TriOf(truthy(t.Annotation(v.key.inject), false) && !v.Marked(t))
}

// read takes the address and the ids from the injector's Deployment, which the chart labels with the injector's name.
func (v vault) read(src *Sources, _ string) *Settings {
	s := &Settings{Missing: src.Missing}
	d, ok := src.DeploymentLabelled(map[string]string{"app.kubernetes.io/name": v.Name + "-agent-injector"})
	if !ok {
		s.missing("no Deployment labelled app.kubernetes.io/name=%s-agent-injector", v.Name)
		return s
	}
	s.Address = d.Env["AGENT_INJECT_VAULT_ADDR"]
	if proxy := d.Env["AGENT_INJECT_PROXY_ADDR"]; proxy != "" {
		s.Address = proxy
	}
	s.UID, _ = strconv.ParseInt(d.Env["AGENT_INJECT_RUN_AS_USER"], 10, 64)
	s.GID, _ = strconv.ParseInt(d.Env["AGENT_INJECT_RUN_AS_GROUP"], 10, 64)
	return s
}

// injects appends the agent's init container (agent-init-first puts it before all others) and its sidecar
// (agent-inject/agent/agent.go, Patch). A later call changes nothing: the injector stops at its own mark.
func (v vault) injects(p *Plan, s *Settings) {
	if v.Marked(p.Target) {
		return
	}
	t := p.Target
	step := Step{Name: v.Name + "-agent-init", Phase: Init, Role: Dialer, Injector: v.Injector}
	step.UID, step.GID = v.ids(p, s)
	if t.Annotation(v.key.initPatch) != "" {
		p.Doubt("what " + v.key.initPatch + " makes of the container is not evaluated") // its ids, most often
	}
	if to, ok := v.address(t, s); ok {
		step.To = []Endpoint{p.resolve(to)}
	} else if to, ok := p.Env.Addresses[v.Name]; ok {
		step.To = []Endpoint{p.resolve(to)}
	}
	if truthy(t.Annotation(v.key.prePopulate), true) {
		p.Add(step, truthy(t.Annotation(v.key.first), false))
	}
	if !truthy(t.Annotation(v.key.prePopulateOnly), false) {
		step.Name, step.Phase = v.Name+"-agent", Main
		p.Add(step, false)
	}
}

func (v vault) ids(p *Plan, s *Settings) (uid, gid int64) {
	t := p.Target
	uid, gid = vaultUID, vaultGID
	if s.UID != 0 {
		uid = s.UID
	}
	if s.GID != 0 {
		gid = s.GID
	}
	if id := parseID(t.Annotation(v.key.user)); id != NoID {
		uid = id
	}
	if id := parseID(t.Annotation(v.key.group)); id != NoID {
		gid = id
	}
	switch {
	case !truthy(t.Annotation(v.key.setContext), true), t.Annotation(v.key.initPatch) != "":
		return NoID, NoID
	case v.ReadsFirstContainer(t) && len(p.Mains) > 0:
		uid = p.Mains[0].UID
	}
	return uid, gid
}

// address is where the agent will connect to, as far as the pod's annotation or the injector's Deployment says. An HTTP
// proxy that the agent is told to use is then what must be reachable.
func (v vault) address(t *Target, s *Settings) (Endpoint, bool) {
	for _, address := range [...]string{t.Annotation(v.key.proxy), t.Annotation(v.key.service), s.Address} {
		if address != "" {
			return ParseURL(address)
		}
	}
	return Endpoint{}, false
}

// dials reads the address out of an injected container: the agent's configuration, base64 of JSON, in its environment; with
// a ConfigMap of the user's the address may stand beside it; else the annotation, else the injector's Deployment.
func (v vault) dials(p *Plan, c *corev1.Container) (Endpoint, bool) {
	address := ""
	for i := range c.Env {
		switch e := &c.Env[i]; e.Name {
		case "HTTPS_PROXY":
			return ParseURL(e.Value)
		case v.configEnv:
			if a := configAddress(e.Value); a != "" {
				address = a
			}
		case v.addressEnv, "BAO_ADDR":
			if address == "" {
				address = e.Value
			}
		}
	}
	if address != "" {
		return ParseURL(address)
	}
	s := unknownSettings()
	for _, h := range p.Target.Namespace.Hooks {
		if h.Injector == v.Injector {
			s = h.settings()
		}
	}
	return v.address(p.Target, s)
}

func configAddress(encoded string) string {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	return gjson.GetBytes(raw, "vault.address").String()
}

var errNotBoolean = errors.New("must be true or false")

// annotations are those of vault-k8s 1.7.6 (agent-inject/agent/annotations.go). Those of secrets and templates carry a name
// of the user's choice behind the key; they are listed by their beginnings, with a trailing dash.
func (v vault) annotations() []Annotation {
	boolean := func(value string) error {
		if _, err := strconv.ParseBool(value); err != nil {
			return fmt.Errorf("%q: %w", value, errNotBoolean)
		}
		return nil
	}
	known := []Annotation{{Key: v.domain + "/agent-inject", Check: boolean, Denied: true}}
	for _, name := range [...]string{"agent-init-first", "agent-pre-populate", "agent-pre-populate-only", "agent-run-as-same-user", "agent-set-security-context"} {
		known = append(known, Annotation{Key: v.domain + "/" + name, Check: boolean, Denied: true})
	}
	for _, name := range slices.Concat(vaultOpaque(), vaultPrefixes()) {
		known = append(known, Annotation{Key: v.domain + "/" + name})
	}
	return known
}

func vaultOpaque() []string {
	return []string{
		"agent-inject-status", "agent-inject-secret", "agent-inject-file", "agent-inject-template", "agent-inject-template-file", "agent-inject-token",
		"agent-inject-command", "agent-inject-containers", "agent-inject-default-template", "agent-inject-perms", "agent-image", "agent-configmap",
		"agent-extra-secret", "agent-requests-cpu", "agent-requests-mem", "agent-requests-ephemeral", "agent-limits-cpu", "agent-limits-mem",
		"agent-limits-ephemeral", "agent-revoke-on-shutdown", "agent-revoke-grace", "agent-run-as-user", "agent-run-as-group",
		"agent-service-account-token-volume-name", "agent-share-process-namespace", "agent-cache-enable", "agent-cache-listener-port",
		"agent-cache-use-auto-auth-token", "agent-cache-exit-on-err", "agent-copy-volume-mounts", "agent-json-patch", "agent-init-json-patch",
		"agent-enable-quit", "agent-go-max-procs", "agent-telemetry", "agent-auto-auth-exit-on-err", "agent-disable-idle-connections",
		"agent-disable-keep-alives", "agent-inject-template-error-on-missing", "agent-image-pull-policy",
		"auth-path", "auth-type", "auth-config", "auth-min-backoff", "auth-max-backoff", "auth-exit-on-err",
		"role", "service", "namespace", "proxy-address", "tls-skip-verify", "tls-secret", "tls-server-name", "ca-cert", "ca-key", "client-cert", "client-key",
		"client-max-retries", "client-timeout", "log-level", "log-format", "preserve-secret-case", "secret-volume-path",
		"template-config-exit-on-retry-failure", "template-static-secret-render-interval", "template-max-connections-per-host", "error-on-missing-key",
	}
}

func vaultPrefixes() []string {
	return []string{
		"agent-inject-secret-", "agent-inject-file-", "agent-inject-template-", "agent-inject-template-file-", "agent-inject-command-", "agent-inject-perms-",
		"agent-telemetry-", "auth-config-", "preserve-secret-case-", "secret-volume-path-", "error-on-missing-key-", "agent-inject-template-file-",
	}
}
