package injectors

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Vault is HashiCorp's Vault agent injector.
func Vault() *Injector {
	return vaultLike(vault{
		Injector:    &Injector{Name: "vault", Title: "Vault", Facts: "vault-k8s 1.7.6, vault-helm aa1c92e"},
		dialects:    []dialect{newDialect("vault", vaultDomain)},
		deployments: []string{"vault-agent-injector", "vault-injector"},
		addressEnv:  []string{vaultAddressEnv},
	})
}

// OpenBao is the fork of Vault's injector: the same code under other names, and three sets of annotations. Images up to
// 2025-07 read openbao.openbao.org, those built since read openbao.org (openbao-k8s#14) and rewrite Vault's to it (#21,
// unless told not to). OpenBao's chart ran Vault's own injector until 0.23.2; what the image it has run since then reads is
// not verified.
func OpenBao() *Injector {
	return vaultLike(vault{
		Injector: &Injector{Name: "openbao", Title: "OpenBao", Facts: "openbao-k8s 1.4.1 and its main of 2026-02, openbao-helm 0.28.0; not recorded, the rest as vault-k8s 1.7.6"},
		dialects: []dialect{newDialect("openbao", "openbao.openbao.org"), newDialect("openbao", "openbao.org"), newDialect("vault", vaultDomain)},
		// Of the chart, and of the manifests in deploy/.
		deployments: []string{"openbao-agent-injector", "openbao-injector"},
		addressEnv:  []string{"AGENT_INJECT_BAO_ADDR", vaultAddressEnv},
	})
}

const (
	vaultDomain     = "vault.hashicorp.com"
	vaultAddressEnv = "AGENT_INJECT_VAULT_ADDR"

	// Names of the images of the injectors, in whatever registry.
	vaultImage, openBaoImage = "vault-k8s", "openbao-k8s"

	// Ids of the injected containers unless the injector is told otherwise (agent-inject/agent/agent.go).
	vaultUID = 100
	vaultGID = 1000
)

// dialect is one set of annotations, made once, and what whoever reads it names the containers that it injects.
type dialect struct {
	name, domain, init, sidecar string

	inject, status, first, prePopulate, prePopulateOnly, sameUser, user, group, setContext, initPatch, service, proxy string
}

func newDialect(name, domain string) dialect {
	return dialect{
		name: name, domain: domain, init: name + "-agent-init", sidecar: name + "-agent",
		inject: domain + "/agent-inject", status: domain + "/agent-inject-status", first: domain + "/agent-init-first",
		prePopulate: domain + "/agent-pre-populate", prePopulateOnly: domain + "/agent-pre-populate-only",
		sameUser: domain + "/agent-run-as-same-user", user: domain + "/agent-run-as-user", group: domain + "/agent-run-as-group",
		setContext: domain + "/agent-set-security-context", initPatch: domain + "/agent-init-json-patch",
		service: domain + "/service", proxy: domain + "/proxy-address",
	}
}

// vault states the facts of one agent injector.
type vault struct {
	*Injector
	dialects    []dialect // its own first
	deployments []string  // app.kubernetes.io/name of its Deployment
	addressEnv  []string  // in its Deployment
}

func vaultLike(v vault) *Injector {
	own := &v.dialects[0]
	v.Containers = map[string]Role{own.init: Dialer, own.sidecar: Dialer}
	v.First = func(t *Target) string { d, _ := v.spoken(t); return d.first }
	v.WithoutSidecar = v.withoutSidecar
	v.Owns = v.owns
	v.Read = v.read
	v.Reads.Environment = []string{"AGENT_INJECT_", "NAMESPACE"}
	// Unless it is given a certificate it makes one, and puts the CA in again and again (subcommand/injector/command.go,
	// certWatcher).
	v.CA.Keeper = nameLabel + "=" + v.deployments[0]
	v.Request = map[string]string{}
	for i := range v.dialects {
		if d := &v.dialects[i]; d.name == v.Name {
			v.Request[d.inject], v.Request[d.domain+"/role"] = "true", "holdfast-probe"
		}
	}
	for _, name := range v.deployments {
		v.Reads.Deployments = append(v.Reads.Deployments, nameLabel+"="+name)
	}
	v.Marked = v.marked
	v.Wants = v.wants
	v.Asked = v.asked
	v.Inject = v.injects
	v.Dials = v.dials
	v.ReadsFirstContainer = v.readsFirst
	for i := range v.dialects {
		if d := &v.dialects[i]; d.name == v.Name {
			v.Annotations = append(v.Annotations, d.annotations()...)
		}
	}
	return v.Injector
}

// owns tells the two apart. OpenBao's chart still calls its webhook vault.hashicorp.com, in a configuration that is labelled
// (and, by default, named) after itself; openbao-k8s' deploy/ calls it openbao.org. The revision is the injector's Service:
// behind each is a Deployment of its own.
func (v vault) owns(h *Hook) (service string, ok bool) {
	name := "vault"
	switch h.Name {
	case vaultDomain:
		label, labelled := h.Labels[nameLabel]
		if !labelled {
			_, service, _ := strings.Cut(h.Service, "/")
			label = h.Configuration + service
		}
		if strings.Contains(label, "openbao") {
			name = "openbao"
		}
	case "openbao.org", "openbao.openbao.org":
		name = "openbao"
	default:
		return "", false
	}
	return h.Service, v.Name == name
}

// spoken returns the set of annotations that asks for an injection; the injector's own where none does.
func (v vault) spoken(t *Target) (d *dialect, asks bool) {
	for i := range v.dialects {
		if d := &v.dialects[i]; flag(t, d.inject, false) {
			return d, true
		}
	}
	return &v.dialects[0], false
}

// flag reads a boolean annotation as the injector does: strconv.ParseBool, and the empty string is false.
func flag(t *Target, key string, otherwise bool) bool {
	if value, ok := t.Meta.Annotations[key]; ok {
		return truthy(value, false)
	}
	return otherwise
}

// said returns the pod's annotation, or what holds where it has none.
func said(t *Target, key, otherwise string) string {
	if value, ok := t.Meta.Annotations[key]; ok {
		return value
	}
	return otherwise
}

func (d *dialect) marked(t *Target) bool { return t.Annotation(d.status) == "injected" }

func (v vault) marked(t *Target) bool {
	for i := range v.dialects {
		if d := &v.dialects[i]; d.name == v.Name && d.marked(t) {
			return true
		}
	}
	return false
}

// wants: the injector stops at the mark. Which annotations OpenBao's reads its image tells; any other image says nothing.
//
//	image         Vault's   OpenBao's
//	vault-k8s     yes       no
//	openbao-k8s   unknown   yes
//
// Vault's own injector reads its own, whatever its image is called.
func (v vault) wants(t *Target, s *Settings) Tri {
	d, asks := v.spoken(t)
	if !asks || d.marked(t) || v.marked(t) || vaultRefuses(t.Namespace.Name) {
		return No
	}
	switch foreign := d.name != v.Name; {
	case len(v.dialects) == 1:
		return Yes
	case strings.Contains(s.Image, vaultImage):
		return TriOf(foreign)
	case strings.Contains(s.Image, openBaoImage) && !foreign:
		return Yes
	}
	return Unknown
}

// vaultRefuses tells whether pods of the namespace that ask for the agent are refused (agent-inject/handler.go, kubeSystemNamespaces):
// nothing is injected there.
func vaultRefuses(namespace string) bool {
	return namespace == metav1.NamespaceSystem || namespace == metav1.NamespacePublic
}

// asked: only the pod is. Vault's annotations are meant for OpenBao's injector where that alone is registered, and it may read
// them.
func (v vault) asked(t *Target) Tri {
	answer := Unknown
	for i := range v.dialects {
		d := &v.dialects[i]
		if value, ok := t.Meta.Annotations[d.inject]; ok && d.name == v.Name {
			answer = max(answer, TriOf(truthy(value, false)))
		}
	}
	if answer == Yes && v.Name == "vault" && serves(t.Namespace.Hooks, "openbao") && !serves(t.Namespace.Hooks, v.Name) {
		return Unknown
	}
	return answer
}

func serves(hooks []*Hook, injector string) bool {
	return slices.ContainsFunc(hooks, func(h *Hook) bool { return h.Injector != nil && h.Injector.Name == injector })
}

// injects appends the agent's init container (agent-init-first puts it before all others) and its sidecar
// (agent-inject/agent/agent.go, Patch). A second hook of the same kind, or a later call, changes nothing: the injector stops
// at the mark.
func (v vault) injects(p *Plan, s *Settings) {
	t := p.Target
	d, _ := v.spoken(t)
	owner := v.Injector
	if its, _ := p.Env.Catalogue.container(t, d.init); its != nil {
		owner = its
	}
	if d.marked(t) || v.marked(t) || p.has(owner) {
		return
	}
	step := Step{Name: d.init, Phase: Init, Role: Dialer, Injector: owner}
	step.UID, step.GID = v.ids(p, d, s)
	if t.Annotation(d.initPatch) != "" {
		p.Doubt("what " + d.initPatch + " makes of the container is not evaluated") // its ids, most often
	}
	to, ok := v.address(p, d, s)
	if !ok {
		to, ok = p.Env.Addresses[v.Name]
	}
	if ok {
		step.To = []Endpoint{p.resolve(to)}
	}
	if flag(t, d.prePopulate, true) {
		p.Add(step, flag(t, d.first, false))
	}
	if !flag(t, d.prePopulateOnly, false) {
		step.Name, step.Phase = d.sidecar, Main
		p.Add(step, false)
	}
}

// withoutSidecar: without an init container the sidecar is all there is.
func (v vault) withoutSidecar(t *Target) (key, value string) {
	d, _ := v.spoken(t)
	if !flag(t, d.prePopulate, true) {
		return "", ""
	}
	return d.prePopulateOnly, "true"
}

// has tells whether the plan has containers of the injector.
func (p *Plan) has(injector *Injector) bool {
	its := func(s Step) bool { return s.Injector == injector }
	return slices.ContainsFunc(p.Inits, its) || slices.ContainsFunc(p.Mains, its)
}

// ids are those of the security context that the injector writes. Where it writes none they are the pod's own. Naming a user
// or group asks for a context even where the injector writes none by itself (agent-inject/agent/annotations.go, Init).
func (v vault) ids(p *Plan, d *dialect, s *Settings) (uid, gid int64) {
	t := p.Target
	if t.Annotation(d.initPatch) != "" {
		return NoID, NoID
	}
	named := false
	for _, key := range [...]string{d.user, d.group, d.sameUser} {
		_, has := t.Meta.Annotations[key]
		named = named || has
	}
	if !flag(t, d.setContext, !s.NoContext || named) {
		return podIDs(t)
	}
	uid, gid = firstID(parseID(t.Annotation(d.user)), s.UID, vaultUID), firstID(parseID(t.Annotation(d.group)), s.GID, vaultGID)
	if flag(t, d.sameUser, s.SameUser) && len(p.Mains) > 0 {
		uid = p.Mains[0].UID
	}
	return uid, gid
}

// firstID returns the annotation's id, or the setting's (0 is none), or the usual one.
func firstID(annotation, setting, usual int64) int64 {
	switch {
	case annotation != NoID:
		return annotation
	case setting != 0:
		return setting
	}
	return usual
}

// readsFirst: the injector takes the uid of spec.containers[0] where the pod, or its own environment, says so.
func (v vault) readsFirst(t *Target) bool {
	d, asks := v.spoken(t)
	if _, ok := t.Meta.Annotations[d.sameUser]; ok || !asks {
		return flag(t, d.sameUser, false)
	}
	for _, h := range t.Namespace.Hooks {
		if h.Injector == v.Injector && h.settings().SameUser && h.Matches(t.Meta.Labels) != No {
			return true
		}
	}
	return false
}
