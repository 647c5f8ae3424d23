package injectors

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"
)

// conjurDialect is one set of Conjur's annotations.
type conjurDialect struct {
	inject, kind, mode, name, conn, auth, config, status string
	others                                               []string
}

// conjurNow and conjurOnce are those of pkg/inject/constants.go: since conjur.org, and before (0cd1acf).
func conjurNow() *conjurDialect {
	const domain = "conjur.org/"
	return &conjurDialect{
		inject: domain + "inject", kind: domain + "inject-type", mode: domain + "container-mode", name: domain + "container-name",
		conn: domain + "conjurConnConfig", auth: domain + "conjurAuthConfig", config: domain + "secretless-config",
		status: domain + "status",
		others: []string{
			domain + "container-image", domain + "conjur-inject-volumes", domain + "secretless-CRD-suffix",
			domain + "secrets-destination",
			// Those that the secrets provider itself reads (secrets-provider-for-k8s).
			domain + "authn-identity", domain + "k8s-secrets", domain + "retry-count-limit", domain + "retry-interval-sec", domain + "debug-logging",
			domain + "log-level", domain + "log-traces", domain + "jaeger-collector-url", domain + "jwt-token-path", domain + "secrets-refresh-enabled",
			domain + "secrets-refresh-interval", domain + "remove-deleted-secrets-enabled",
		},
	}
}

func conjurOnce() *conjurDialect {
	const domain = "sidecar-injector.cyberark.com/"
	return &conjurDialect{
		inject: domain + "inject", kind: domain + "injectType", mode: domain + "containerMode", name: domain + "containerName",
		conn: domain + "conjurConnConfig", auth: domain + "conjurAuthConfig", config: domain + "secretlessConfig",
		status: domain + "status",
		others: []string{domain + "conjurTokenReceivers", domain + "secretlessCRDSuffix"},
	}
}

// What the injector injects (inject-type).
const (
	conjurAuthenticator   = "authenticator"
	conjurSecretsProvider = "secrets-provider"
	conjurSecretless      = "secretless"
)

// conjur states the facts of the injector.
type conjur struct {
	*Injector
	dialects []*conjurDialect
}

// Conjur is CyberArk's sidecar injector. It appends an authenticator, a secrets provider (each as an init container, or beside
// the app) or Secretless. The authenticator has its addresses from a ConfigMap, which is not read; the secrets provider has
// them in its environment. Once it has run, what asked for it is gone from the pod: its status is what stays. A container
// that the pod gave another name than those below is not known again.
func Conjur() *Injector {
	c := &conjur{
		Injector: &Injector{
			Name: "conjur", Title: "Conjur",
			Facts: "cyberark/sidecar-injector (pkg/inject at e2630d0 and 18f4952), its chart 0.2.0-alpha; whether a release reads both sets of annotations is not verified",
			Common: map[string]Role{
				conjurAuthenticator: Dialer, conjurSecretsProvider: Dialer, "cyberark-secrets-provider-for-k8s": Dialer, conjurSecretless: Helper,
			},
			Owns: func(h *Hook) (service string, ok bool) {
				return h.Service, h.Name == "sidecar-injector.conjur.org" || h.Name == "sidecar-injector.cyberark.com"
			},
		},
		dialects: []*conjurDialect{conjurNow(), conjurOnce()},
	}
	c.Marked, c.Wants, c.Asked, c.Muddle = c.marked, c.wants, c.asked, c.muddle
	c.Inject = c.injects
	c.Dials = c.dials
	c.WithoutSidecar = func(t *Target) (key, value string) {
		d := c.spoken(t)
		if d == nil || t.Annotation(d.kind) == conjurSecretless {
			return "", ""
		}
		return d.mode, "init"
	}
	for _, d := range c.dialects {
		c.Annotations = append(c.Annotations, d.annotations()...)
	}
	return c.Injector
}

func (d *conjurDialect) annotations() []Annotation {
	oneOf := func(values ...string) func(string) error {
		return func(value string) error {
			if !slices.Contains(values, value) {
				return fmt.Errorf("%q: must be one of %s", value, strings.Join(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" }), ", "))
			}
			return nil
		}
	}
	known := []Annotation{
		{Key: d.kind, Check: oneOf(conjurSecretless, conjurAuthenticator, conjurSecretsProvider), Denied: true},
		{Key: d.mode, Check: oneOf("", "init", "sidecar"), Denied: true},
	}
	for _, key := range slices.Concat([]string{d.inject, d.name, d.conn, d.auth, d.config, d.status}, d.others) {
		known = append(known, Annotation{Key: key})
	}
	return known
}

// spoken returns the set of annotations that asks for an injection (mutationRequired), nil where none does.
func (c *conjur) spoken(t *Target) *conjurDialect {
	for _, d := range c.dialects {
		switch strings.ToLower(t.Annotation(d.inject)) {
		case "y", "yes", "true", "on":
			return d
		}
	}
	return nil
}

func (c *conjur) marked(t *Target) bool {
	for _, d := range c.dialects {
		if strings.EqualFold(t.Annotation(d.status), "injected") {
			return true
		}
	}
	return false
}

// wants: a pod that the injector refuses for want of something, it does not act on; what is refused for the sake of a value is
// said of that annotation, and planned as if the value were not there. Which set of annotations it reads its release says, which is not
// known here; the older one is out of use.
func (c *conjur) wants(t *Target, _ *Settings) Tri {
	d := c.spoken(t)
	switch {
	case d == nil, c.marked(t), t.Namespace.Name == "kube-system", t.Namespace.Name == "kube-public":
		return No
	case d.missing(t) != "":
		return No
	case d != c.dialects[0]:
		return Unknown
	}
	return Yes
}

func (c *conjur) asked(t *Target) Tri {
	if c.marked(t) || c.spoken(t) != nil {
		return Yes
	}
	for _, d := range c.dialects {
		if _, said := t.Meta.Annotations[d.inject]; said {
			return No
		}
	}
	return Unknown
}

// missing returns the annotation for want of which the injector refuses a pod that asks for it, "" where there is none.
func (d *conjurDialect) missing(t *Target) string {
	var needs []string
	switch t.Annotation(d.kind) {
	case conjurSecretsProvider:
		needs = []string{d.name} // an injected container without a name is refused by the API server
	case conjurAuthenticator:
		needs = []string{d.conn, d.auth}
	case conjurSecretless:
		needs = []string{d.config}
	default:
		needs = []string{d.kind}
	}
	for _, key := range needs {
		if _, has := t.Meta.Annotations[key]; !has {
			return key
		}
	}
	return ""
}

func (c *conjur) muddle(t *Target) []Muddle {
	d := c.spoken(t)
	if d == nil || c.marked(t) {
		return nil
	}
	key := d.missing(t)
	what, fix := "an authenticator takes its addresses from a ConfigMap", "Name the ConfigMap in the annotation "+key+"."
	switch key {
	case "":
		return nil
	case d.kind:
		what, fix = "injection is asked for", "Annotate the template: "+key+`: "`+conjurSecretsProvider+`"`
	case d.config:
		what, fix = "Secretless has to be told what to serve", "Name its configuration in the annotation "+key+"."
	case d.name:
		what, fix = "a secrets provider has no name of its own", "Annotate the template: "+key+`: "`+conjurSecretsProvider+`"`
	}
	return []Muddle{{What: what + ", and annotation " + key + " is missing: the pod is refused", Fix: fix}}
}

// injects appends in either list (createPatch).
func (c *conjur) injects(p *Plan, _ *Settings) {
	t := p.Target
	d := c.spoken(t)
	if d == nil || c.marked(t) || d.missing(t) != "" || p.has(c.Injector) {
		return
	}
	step := Step{Name: t.Annotation(d.name), Phase: Main, Role: Dialer, Injector: c.Injector}
	step.UID, step.GID = podIDs(t)
	switch kind := t.Annotation(d.kind); {
	case kind == conjurSecretless:
		step.Name, step.Role = conjurSecretless, Helper
	case step.Name == "":
		step.Name = conjurAuthenticator
	}
	if step.Role == Dialer {
		step.To = p.destination(c.Injector, Endpoint{}, false)
		if t.Annotation(d.mode) == "init" {
			step.Phase = Init
		}
	}
	if step.Phase == Init && t.Annotation(d.kind) == conjurSecretsProvider {
		step.To = p.foreseen(c.Injector, Endpoint{}, false) // the pod will say; it never says of an authenticator
	}
	p.Add(step, false)
}

// dials reads what a secrets provider has in its environment.
func (c *conjur) dials(p *Plan, container *corev1.Container) (Endpoint, bool) {
	for _, name := range [...]string{"CONJUR_AUTHN_URL", "CONJUR_APPLIANCE_URL"} {
		if url := variable(container, name); url != "" && url != elsewhere {
			return p.reach(url, httpproxy.Config{})
		}
	}
	return Endpoint{}, false
}
