// Package injectors is the catalogue of sidecar injectors and the Plan that follows from it: in what order a pod's
// containers will start, who put each there, and who can reach the network at each step.
//
// An injector's file states facts and no opinions; rules and remedies read plans and never name an injector. The package
// does no I/O, has no clock, and never writes to the pod that it is given.
package injectors

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Role is what a container does for the network of its pod.
type Role uint8

// The roles of the walk (see Plan).
const (
	Own       Role = iota // the user's
	Installer             // redirects the pod's traffic; in effect once it has ended
	Validator             // stands where a node plugin has redirected the pod's traffic before any container
	Proxy                 // serves the redirected traffic
	Dialer                // needs the network when it starts
	Helper                // injected, needs no network to start
)

// String returns the role in one word.
func (r Role) String() string {
	return [...]string{"own", "installer", "validator", "proxy", "dialer", "helper"}[r]
}

// Injector is what is known about one sidecar injector: facts, no opinions. Functions that are nil do not apply.
type Injector struct {
	Name  string // istio
	Title string // Istio
	Facts string // the release that the facts were read from

	// Containers maps the names of the containers it adds to their roles. Names are the only reliable handles: image
	// registries get rewritten.
	Containers map[string]Role

	// Owns tells whether a registered webhook is this injector's, and of which revision.
	Owns func(h *Hook) (revision string, ok bool)
	// Read reads the settings of one revision, from the objects that Reads names.
	Read  func(src *Sources, revision string) *Settings
	Reads Reads

	// Marked tells whether the injector has run on the pod: it left its mark.
	Marked func(t *Target) bool
	// Wants tells whether the injector acts on a pod that the API server sends it.
	Wants func(t *Target, s *Settings) Tri
	// Inject does to the plan what the injector's webhook does to the pod, at the first call or at a later one.
	Inject func(p *Plan, s *Settings)

	// Observe reads from an injected pod what takes effect in it: the capture of a mesh. installer and proxy may be nil.
	Observe func(p *Plan, m *Mesh, installer, proxy *corev1.Container)
	// Dials returns where an injected container of role Dialer connects to; ok is false where the pod does not say.
	Dials func(p *Plan, c *corev1.Container) (Endpoint, bool)

	// Annotations are those that the injector reads, for the rules about annotations.
	Annotations []Annotation
	// Hold says how a pod asks that the app waits for the proxy; nil where there is no such way.
	Hold *Hold
	// First returns the annotation that makes the injector put its dialer before every other init container of the pod.
	First func(t *Target) string
	// ReadsFirstContainer tells whether what the injector does to this pod depends on which container is the first.
	ReadsFirstContainer func(t *Target) bool
}

// Reads names the objects in which an injector keeps its settings, and what of them matters: nothing else is kept.
type Reads struct {
	Deployments []string // label selectors
	Environment []string // of the Deployments' containers: beginnings of variable names
	ConfigMaps  []string // beginnings of names, in the namespaces of meshes
	Keys        []string // of the ConfigMaps
}

// Hold is how a pod asks its mesh that the app waits for the proxy.
type Hold struct {
	Key string
	// Merge returns the annotation's value with hold added to what is there; an error where that cannot be parsed. decided
	// tells that the value already says something about hold, either way: it is the user's word and is kept.
	Merge func(value string) (merged string, decided bool, err error)
}

// Meaning is what an annotation's value tells an injector, as far as remedies and rules care.
type Meaning uint8

// Opaque values are known by key alone.
const (
	Opaque Meaning = iota
	ExcludeCIDRs
	ExcludePorts
	IncludeCIDRs
	IncludePorts
)

// Annotation is one annotation that an injector reads on pods.
type Annotation struct {
	Key   string
	Means Meaning
	// Check returns what is wrong with a value; nil where anything goes.
	Check func(value string) error
	// Denied tells that the injector refuses the whole pod over a value that Check finds wrong; otherwise it is misread.
	Denied bool
	// Namespaced tells that the injector reads the annotation on the namespace too.
	Namespaced bool
}

// Annotation returns the injector's annotation with the given meaning, or nil.
func (i *Injector) Annotation(m Meaning) *Annotation {
	for k := range i.Annotations {
		if i.Annotations[k].Means == m {
			return &i.Annotations[k]
		}
	}
	return nil
}

// Catalogue is a set of injectors, indexed. It is made once and never changed.
type Catalogue struct {
	All   []*Injector
	names map[string]known
	keys  map[string]*Annotation
}

type known struct {
	injector *Injector
	role     Role
}

// NewCatalogue indexes the injectors. Where two claim the same container name the first one has it.
func NewCatalogue(all ...*Injector) *Catalogue {
	c := &Catalogue{All: all, names: map[string]known{}, keys: map[string]*Annotation{}}
	for _, i := range all {
		for name, role := range i.Containers {
			if _, taken := c.names[name]; !taken {
				c.names[name] = known{i, role}
			}
		}
		for k := range i.Annotations {
			c.keys[i.Annotations[k].Key] = &i.Annotations[k]
		}
	}
	return c
}

// Builtin returns the injectors that Holdfast knows by itself, in the order of the documentation.
func Builtin() []*Injector {
	return []*Injector{Istio(), Vault(), OpenBao()}
}

// Deployments returns the label selectors of all Deployments in which settings are kept, each once.
func (c *Catalogue) Deployments() []string {
	var out []string
	for _, i := range c.All {
		for _, selector := range i.Reads.Deployments {
			if !slices.Contains(out, selector) {
				out = append(out, selector)
			}
		}
	}
	return out
}

// ReadsVariable tells whether settings may be in the environment variable.
func (c *Catalogue) ReadsVariable(name string) bool {
	return c.reads(func(r *Reads) []string { return r.Environment }, name)
}

// ReadsConfigMap tells whether settings may be in the ConfigMap, and returns the keys in which they are.
func (c *Catalogue) ReadsConfigMap(name string) (keys []string) {
	for _, i := range c.All {
		if begins(i.Reads.ConfigMaps, name) {
			keys = append(keys, i.Reads.Keys...)
		}
	}
	return keys
}

func (c *Catalogue) reads(list func(*Reads) []string, name string) bool {
	return slices.ContainsFunc(c.All, func(i *Injector) bool { return begins(list(&i.Reads), name) })
}

func begins(prefixes []string, name string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// Annotation returns what is known of an annotation key.
func (c *Catalogue) Annotation(key string) (*Annotation, bool) {
	a, ok := c.keys[key]
	return a, ok
}

// Identify sets each hook's injector, revision and settings. overrides returns what the configuration says of a mesh; it
// may be nil, and may return nil.
func (c *Catalogue) Identify(hooks []*Hook, src *Sources, override func(injector, revision string, read *Settings) *Settings) {
	type key struct{ injector, revision, namespace string }
	read := map[key]*Settings{}
	for _, h := range hooks {
		for _, i := range c.All {
			revision, ok := i.Owns(h)
			if !ok {
				continue
			}
			h.Injector, h.Revision = i, revision
			// Two control planes of one revision may stand in two namespaces; a webhook's Service tells which is its own.
			namespace, _, _ := strings.Cut(h.Service, "/")
			k := key{i.Name, revision, namespace}
			if _, done := read[k]; !done {
				s := i.Read(src.from(namespace), revision)
				if override != nil {
					s = override(i.Name, revision, s)
				}
				read[k] = s
			}
			h.Settings = read[k]
			break
		}
	}
}
