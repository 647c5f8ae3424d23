package injectors

import (
	"iter"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Phase is when the kubelet starts a container.
type Phase uint8

// The kubelet runs init containers one after the other, each to its end; a native sidecar (an init container with
// restartPolicy: Always) only until it has started; main containers after all of them.
const (
	Init Phase = iota
	Native
	Main
)

// Step is one container of a plan.
type Step struct {
	Name     string
	Phase    Phase
	Role     Role
	Injector *Injector // nil for the user's own containers
	// Index is the container's place in the list (initContainers or containers) of the pod that was given; -1 for one that
	// a hook still to come will add.
	Index int
	// Declared tells that the user said that this container needs the network (InitNetworkAnnotation).
	Declared bool
	// Wrapped tells that this is a container of the user's that an injector made a dialer (Injector.Wraps).
	Wrapped bool

	UID, GID int64 // effective, NoID where the image decides
	// Gated tells that what comes after waits for this container: a startup probe, or a postStart hook.
	Gated bool
	// To is where a dialer connects.
	To []Endpoint

	// Bit i stands for Plan.Meshes[i] at the moment this container starts: its redirect is in place, may be in place,
	// its proxy serves, where its proxy is cannot be said.
	redirected, maybe, serving, lost meshes
}

// meshes is a set of Plan.Meshes.
type meshes uint16

// maxMeshes bounds how many redirects of one pod are looked at.
const maxMeshes = 16

// Mesh is one redirect in a pod.
type Mesh struct {
	Injector *Injector
	Settings *Settings
	CNI      Tri // a node plugin redirects before any container; No: an init container does
	Native   Tri
	Hold     Tri // the app waits for the proxy
	Capture  Capture
	// Late tells that annotations which are on the finished pod take effect: the node reads them raw.
	Late bool
	// Unlisted tells that the list which an annotation replaces is kept where nobody read it.
	Unlisted bool
	// Coming tells that the mesh's hook will yet be called, and reads the annotations that are there then.
	Coming bool
	// Again tells that the hook has run (or will have) and will run once more: it puts its own containers in order.
	Again bool
	// ProxyUID and ProxyGID are the ids that the redirect lets through.
	ProxyUID, ProxyGID int64
}

// Reads tells whether annotations that are added now will take effect.
func (m *Mesh) Reads() bool { return m.Coming || m.Again || m.Late }

// List returns the list that is in effect for the pod, in the injector's own syntax: an annotation of that meaning replaces it,
// and has to start from it. Where it is not known, nobody can tell what would be replaced.
func (m *Mesh) List(means Meaning, t *Target) (list string, known bool) {
	a := m.Injector.Annotation(means)
	if a == nil {
		return "", false
	}
	if list, ok := t.Meta.Annotations[a.Key]; ok {
		return list, true
	}
	if list, ok := t.Namespace.Annotations[a.Key]; ok && a.Namespaced {
		return list, true
	}
	switch {
	case m.Unlisted:
		return "", false
	case m.Settings != nil && m.Settings.ListsKnown():
		return m.Settings.list(means), true
	case m.Coming:
		return "", false
	case means == ExcludeUIDs && slices.ContainsFunc(m.Capture.Users, func(u Users) bool { return !u.plain() }):
		return "", false // a rule that cannot be written back as it was
	}
	return m.Capture.list(a), true
}

// Horizon says how much of a plan is fact.
type Horizon uint8

// A pod in /validate is all fact; in /mutate the hooks after ours are still to come; a template has met none.
const (
	Fact Horizon = iota
	Rest
	All
)

// Plan says in which order the containers of a pod will start, who put each there, and what network each meets. It is
// immutable once made.
type Plan struct {
	Target *Target
	Env    *Env

	Inits, Mains []Step
	Meshes       []Mesh

	// Coming tells that at least one known hook still to come will change the pod: we look at an unfinished pod.
	Coming bool
	// Recalled tells that the API server will call us once more after that.
	Recalled bool
	// Doubts says what a prediction rests on that is not certain; empty for certain plans.
	Doubts []string

	horizon Horizon
}

// Env is what a plan may know of the cluster and of the configuration. It does not change while a plan is made.
type Env struct {
	Catalogue *Catalogue
	// Services looks a Service up; nil where none can be read.
	Services func(namespace, name string) (Service, bool)
	// ServicesIn goes through the Services of a namespace; nil where none can be read.
	ServicesIn func(namespace string) iter.Seq[Service]
	// Webhooks returns the Services of a namespace that answer for registered admission webhooks; nil where that is not known.
	Webhooks func(namespace string) []WebhookService
	// Addresses are configured destinations by injector name, used where the pod and the cluster do not say.
	Addresses map[string]Endpoint
	// InitNetwork are init containers of which the configuration says that they need the network.
	InitNetwork []KnownInit
	// Now tells the time, for exemptions that end; nil where no time is to be had.
	Now func() time.Time
}

// Certain tells that the plan rests on nothing that is not known.
func (p *Plan) Certain() bool { return len(p.Doubts) == 0 }

// New makes the plan for a target.
func New(t *Target, env *Env, horizon Horizon) *Plan {
	p := &Plan{Target: t, Env: env, horizon: horizon}
	p.Inits = make([]Step, 0, len(t.Spec.InitContainers)+4)
	p.Mains = make([]Step, 0, len(t.Spec.Containers)+4)
	p.observe()
	if horizon != Fact {
		p.predict(horizon)
	}
	p.declare()
	p.walk()
	return p
}

// observe reads what is in the pod.
func (p *Plan) observe() {
	spec := p.Target.Spec
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		phase := Init
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			phase = Native
		}
		p.Inits = append(p.Inits, p.step(c, phase, i))
	}
	for i := range spec.Containers {
		p.Mains = append(p.Mains, p.step(&spec.Containers[i], Main, i))
	}
	for _, injector := range p.Env.Catalogue.All {
		if injector.Observe != nil {
			p.observeMesh(injector)
		}
	}
	// Destinations come after the meshes, because a pod tells whose a container is.
	for _, list := range [...][]Step{p.Inits, p.Mains} {
		for i := range list {
			if s := &list[i]; s.Role == Dialer {
				p.observeDialer(s)
			}
		}
	}
}

func (p *Plan) step(c *corev1.Container, phase Phase, index int) Step {
	s := Step{Name: c.Name, Phase: phase, Index: index}
	s.Injector, s.Role = p.Env.Catalogue.container(p.Target, c.Name)
	if s.Injector == nil {
		for _, i := range p.Env.Catalogue.wraps {
			if i.Wraps(c) {
				s.Injector, s.Role, s.Wrapped = i, Dialer, true
				break
			}
		}
	}
	s.UID, s.GID = podIDs(p.Target)
	if cs := c.SecurityContext; cs != nil {
		s.UID, s.GID = orID(cs.RunAsUser, s.UID), orID(cs.RunAsGroup, s.GID)
	}
	s.Gated = c.Lifecycle != nil && c.Lifecycle.PostStart != nil || phase == Native && c.StartupProbe != nil
	return s
}

func orID(id *int64, other int64) int64 {
	if id == nil {
		return other
	}
	return *id
}

// observeMesh finds the redirect of one mesh. A container that only bears the proxy's name is the user's own, given to
// customise the injection to come, unless the injector's mark or its installer is there too.
func (p *Plan) observeMesh(injector *Injector) {
	installer, proxy := p.parts(injector)
	if installer == nil && proxy == nil || len(p.Meshes) == maxMeshes {
		return
	}
	if installer == nil && !injector.Marked(p.Target) {
		proxy.Injector, proxy.Role = nil, Own
		return
	}
	m := Mesh{
		Injector: injector, CNI: TriOf(installer == nil || installer.Role == Validator), ProxyUID: NoID, ProxyGID: NoID,
		Settings: p.Settings(injector),
	}
	if proxy != nil {
		m.Native = TriOf(proxy.Phase == Native)
		m.Hold = TriOf(proxy.Phase == Main && proxy.Gated && p.beforeApps(proxy))
		m.ProxyUID, m.ProxyGID = proxy.UID, proxy.GID
	}
	if injector.Observe(p, &m, installer, proxy) {
		p.Meshes = append(p.Meshes, m)
	}
}

// beforeApps tells whether no container of the user's stands before this one.
func (p *Plan) beforeApps(s *Step) bool {
	return !slices.ContainsFunc(p.Mains[:s.Index], func(other Step) bool { return other.Users() })
}

// parts returns the containers of a mesh: the one that redirects, or stands for the plugin that does, and the proxy.
func (p *Plan) parts(injector *Injector) (installer, proxy *Step) {
	for _, list := range [...][]Step{p.Inits, p.Mains} {
		for i := range list {
			switch s := &list[i]; {
			case s.Injector != injector:
			case s.Role == Proxy:
				proxy = s
			case s.Role == Installer || s.Role == Validator:
				installer = s
			}
		}
	}
	return installer, proxy
}

// Settings returns what the cluster says about the injector whose hook matches the pod, nil where none does.
func (p *Plan) Settings(injector *Injector) *Settings {
	var s *Settings
	for _, h := range p.Target.Namespace.Hooks {
		if h.Injector == injector && h.Matches(p.Target.Meta.Labels) != No {
			s = h.Settings
		}
	}
	return s
}

func (p *Plan) observeDialer(s *Step) {
	var to Endpoint
	ok := false
	if s.Injector.Dials != nil {
		to, ok = s.Injector.Dials(p, p.Container(s))
	}
	if !ok {
		to, ok = p.Env.Addresses[s.Injector.Name]
	}
	if ok {
		s.To = append(s.To, p.resolve(to))
	}
	if s.Injector.Waits != nil && !s.Injector.Waits(p.Container(s)) {
		s.Gated = false // who comes next waits for it, and it waits for nobody
	}
}

// Container returns the container behind a step, nil for one that is still to come, and for none. In a plan that shows what
// will be (Moved), the pod has its containers in another order: they are found by their names, which are unique.
func (p *Plan) Container(s *Step) *corev1.Container {
	if s == nil || s.Index < 0 {
		return nil
	}
	list := p.Target.Spec.InitContainers
	if s.Phase == Main {
		list = p.Target.Spec.Containers
	}
	if s.Index < len(list) && list[s.Index].Name == s.Name {
		return &list[s.Index]
	}
	for i := range list {
		if list[i].Name == s.Name {
			return &list[i]
		}
	}
	return nil
}

// Mesh returns the plan's redirect by the given injector, or nil.
func (p *Plan) Mesh(injector *Injector) *Mesh {
	for i := range p.Meshes {
		if p.Meshes[i].Injector == injector {
			return &p.Meshes[i]
		}
	}
	return nil
}

// Doubt notes that a prediction is not certain, and why.
func (p *Plan) Doubt(why string) {
	if !slices.Contains(p.Doubts, why) {
		p.Doubts = append(p.Doubts, why)
	}
}

// Acts tells whether the injector has changed the pod, or will.
func (p *Plan) Acts(injector *Injector) bool {
	if injector.Marked != nil && injector.Marked(p.Target) {
		return true
	}
	for _, list := range [...][]Step{p.Inits, p.Mains} {
		for i := range list {
			if list[i].Injector == injector {
				return true
			}
		}
	}
	return false
}
