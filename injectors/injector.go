// Package injectors is the catalogue of sidecar injectors and the Plan that follows from it: in what order a pod's
// containers will start, who put each there, and who can reach the network at each step.
//
// An injector's file states facts and no opinions; rules and remedies read plans and never name an injector. The package
// does no I/O, has no clock, and never writes to the pod that it is given.
package injectors

import (
	"maps"
	"net/netip"
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

	// Containers maps the names of the containers it adds to their roles; a name that ends in * stands for all that begin
	// so. Names are the only reliable handles: image registries get rewritten.
	Containers map[string]Role
	// Common are names that people, or other injectors, give to containers too: they count beside the injector's mark alone.
	Common map[string]Role
	// Wraps tells whether the injector has made a container of the user's fetch something before its own program runs: the
	// container is then a dialer as well.
	Wraps func(c *corev1.Container) bool

	// Owns tells whether a registered webhook is this injector's, and of which revision.
	Owns func(h *Hook) (revision string, ok bool)
	// Read reads the settings of one revision, from the objects that Reads names.
	Read  func(src *Sources, revision string) *Settings
	Reads Reads
	// Port is where its pods serve the webhook unless told otherwise, given where they declare other ports beside it.
	Port uint16

	// CA is where its webhook configurations get the CA from with which its certificate is checked.
	CA CA

	// Marked tells whether the injector has run on the pod: it left its mark.
	Marked func(t *Target) bool
	// Wants tells whether the injector acts on a pod that the API server sends it.
	Wants func(t *Target, s *Settings) Tri
	// Asked tells whether somebody asked for the injection of just this pod, or its namespace: Yes or No as they said, Unknown
	// where nobody said anything.
	Asked func(t *Target) Tri
	// Request are annotations with which any pod asks for the injection; nil where pods get it that say nothing.
	Request map[string]string
	// Decline is what a pod says to be left alone.
	Decline Decline
	// Muddle returns what is contradictory, or without effect, in how the pod and its namespace ask for injection.
	Muddle func(t *Target) []Muddle
	// Inject does to the plan what the injector's webhook does to the pod, at the first call or at a later one. An injector
	// without it changes nothing that matters to a plan.
	Inject func(p *Plan, s *Settings)
	// Rerenders tells that a later call does its work anew, with the annotations that are there by then; others leave a pod
	// alone that bears their mark.
	Rerenders bool

	// Observe reads from an injected pod what takes effect in it: the capture of a mesh, whose mode and proxy are set as far
	// as the containers' names and places tell. It returns false where nothing is redirected. installer and proxy may be nil.
	Observe func(p *Plan, m *Mesh, installer, proxy *Step) bool
	// Dials returns where an injected container of role Dialer connects to; ok is false where the pod does not say.
	Dials func(p *Plan, c *corev1.Container) (Endpoint, bool)
	// Waits tells whether an injected container of role Dialer is started only once it has its connection; nil where all are.
	Waits func(c *corev1.Container) bool

	// Annotations are those that the injector reads, for the rules about annotations.
	Annotations []Annotation
	// Hold says how a pod asks that the app waits for the proxy; nil where there is no such way.
	Hold *Hold
	// Native is the annotation with which a pod asks for a native sidecar (its value is "true"), "" where there is none.
	Native string
	// ServerFirst tells whether the mesh handles by itself a port on which the server speaks first: No where its proxy waits for
	// the client to speak, and both wait; Unknown where the Service has a say in it. nil where the mesh does not look at what a
	// connection says.
	ServerFirst func(t *Target, port uint16) Tri
	// AppProtocol is what a Service's appProtocol says to have a port's connections passed on unseen; "" where none does.
	AppProtocol string
	// Gateway tells that a container which nobody injected is the mesh's proxy all the same, run as a gateway.
	Gateway func(c *corev1.Container) bool
	// Quits tells that the injector's own control plane ends its containers once those of the app have ended.
	Quits bool
	// Ends are programs that end its containers with the work of another one, which they wrap; endpoints that many proxies have
	// (/quitquitquit, /shutdown) go without saying.
	Ends []string
	// WithoutSidecar returns the annotation that leaves out the main container which the injector adds, and keeps its init
	// container.
	WithoutSidecar func(t *Target) (key, value string)
	// Discovery returns the address of the control plane that the pod tells its proxy, and the one that it should have by the
	// settings; "" for what is not said or not known.
	Discovery func(t *Target, s *Settings) (said, want string)
	// First returns the annotation that makes the injector put its dialer before every other init container of the pod.
	First func(t *Target) string
	// ReadsFirstContainer tells whether what the injector does to this pod depends on which container is the first.
	ReadsFirstContainer func(t *Target) bool
}

// Reads names the objects in which an injector keeps its settings, and what of them matters: nothing else is kept.
type Reads struct {
	Deployments []string // label selectors
	Environment []string // of the Deployments' containers: beginnings of variable names
	Flags       []string // of the Deployments' containers: names of flags, without dashes
	ConfigMaps  []string // beginnings of names, in the namespaces of meshes
	Keys        []string // of the ConfigMaps
}

// CA tells how the CA of an injector's certificate gets into its webhook configurations, where cert-manager does not see to it.
// What is not known is empty.
type CA struct {
	// ConfigMap, or Secret, has it under Key, in the namespace of the Service that is called.
	ConfigMap, Secret, Key string
	// Keeper selects the Deployment in that namespace which puts it in by itself whenever it starts.
	Keeper string
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
	// ExcludeUIDs lists users whose processes are let through, whatever they connect to.
	ExcludeUIDs
	// ExcludeInbound lists ports that others reach without the proxy; IncludeInbound those that it takes.
	ExcludeInbound
	IncludeInbound
)

// Muddle is one thing about how injection is asked for that is contradictory, or without effect.
type Muddle struct {
	What string // label istio-injection=enabled and label istio.io/rev=canary are on namespace shop: the first one wins
	Fix  string // a sentence, or a line to paste
	// Away tells that this is what keeps the injector's webhooks from being called for the pod.
	Away bool
}

// Decline is the annotation, or the label, with which a pod declines an injection; "" where there is none.
type Decline struct {
	Key, Value string
	Label      bool
}

// Annotation is one annotation that an injector reads on pods.
type Annotation struct {
	Key   string
	Means Meaning
	// Check returns what is wrong with a value; nil where anything goes.
	Check func(value string) error
	// CIDRs and Ports read the value of a list of that meaning; nil for the usual syntax (ParseCIDRs, ParsePorts).
	CIDRs func(value string) ([]netip.Prefix, error)
	Ports func(value string) ([]Ports, error)
	// Separator stands between the entries of a list: a comma where it is "".
	Separator string
	// Through stands between the ends of a range of ports: a dash where it is "".
	Through string
	// Denied tells that the injector refuses the whole pod over a value that Check finds wrong; otherwise it is misread.
	Denied bool
	// Breaks tells of a value that Check finds wrong whether it certainly makes the injector's init container, or its node
	// plugin, fail: the pod never starts. nil where that is certain of none.
	Breaks func(value string) bool
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
	All    []*Injector
	names  map[string][]known
	begins []known // names that end in *
	wraps  []*Injector
	keys   map[string]*Annotation
	own    []string // keys, sorted
	words  vocabulary
}

type known struct {
	injector *Injector
	role     Role
	begins   string
	common   bool
}

// NewCatalogue indexes the injectors. Where two claim a container, the one that left its mark on the pod has it, else the first.
func NewCatalogue(all ...*Injector) *Catalogue {
	c := &Catalogue{All: all, names: map[string][]known{}, keys: map[string]*Annotation{}}
	for _, i := range all {
		c.index(i, i.Containers, false)
		c.index(i, i.Common, true)
		if i.Wraps != nil {
			c.wraps = append(c.wraps, i)
		}
		for k := range i.Annotations {
			c.keys[i.Annotations[k].Key] = &i.Annotations[k]
		}
	}
	slices.SortFunc(c.begins, func(a, b known) int { return strings.Compare(a.begins, b.begins) })
	c.own = slices.Sorted(maps.Keys(c.keys))
	c.words = newVocabulary(all)
	return c
}

func (c *Catalogue) index(i *Injector, containers map[string]Role, common bool) {
	for name, role := range containers {
		if begins, ok := strings.CutSuffix(name, "*"); ok {
			c.begins = append(c.begins, known{injector: i, role: role, begins: begins, common: common})
			continue
		}
		c.names[name] = append(c.names[name], known{injector: i, role: role, common: common})
	}
}

// container returns whose a container of the pod is by its name, and its role.
func (c *Catalogue) container(t *Target, name string) (*Injector, Role) {
	claims := c.names[name]
	switch {
	case len(claims) == 1 && !claims[0].common:
		return claims[0].injector, claims[0].role
	case len(claims) == 0 && !slices.ContainsFunc(c.begins, func(k known) bool { return strings.HasPrefix(name, k.begins) }):
		return nil, Own
	case len(claims) == 0:
		for _, k := range c.begins {
			if strings.HasPrefix(name, k.begins) {
				claims = append(claims, k)
			}
		}
	}
	var first *known
	for i := range claims {
		k := &claims[i]
		if k.injector.Marked != nil && k.injector.Marked(t) {
			return k.injector, k.role
		}
		if first == nil && !k.common {
			first = k
		}
	}
	if first == nil {
		return nil, Own
	}
	return first.injector, first.role
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

// ReadsFlag tells whether settings may be in the flag.
func (c *Catalogue) ReadsFlag(name string) bool {
	return slices.ContainsFunc(c.All, func(i *Injector) bool { return slices.Contains(i.Reads.Flags, name) })
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

// Keys returns the annotation keys that the injectors read, sorted. Those that end in a dash stand for all that begin so.
func (c *Catalogue) Keys() []string { return c.own }

// Identify sets each hook's injector, revision and settings. overrides returns what the configuration says of a mesh; it
// may be nil, and may return nil.
func (c *Catalogue) Identify(hooks []*Hook, src *Sources, override func(injector, revision string, read *Settings) *Settings) {
	type key struct{ injector, revision, namespace string }
	read := map[key]*Settings{}
	for _, h := range hooks {
		for _, i := range c.All {
			if i.Owns == nil {
				continue
			}
			revision, ok := i.Owns(h)
			if !ok {
				continue
			}
			h.Injector, h.Revision = i, revision
			// Two control planes of one revision may stand in two namespaces; a webhook's Service tells which is its own.
			namespace, _, _ := strings.Cut(h.Service, "/")
			k := key{i.Name, revision, namespace}
			if _, done := read[k]; !done {
				s := unknownSettings()
				if i.Read != nil {
					s = i.Read(src.from(namespace), revision)
				}
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
