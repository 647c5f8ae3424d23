package injectors

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Description is what a configuration says of an injector that is not in the catalogue, in the catalogue's own terms.
type Description struct {
	Name, Title string
	Webhooks    []string // names of the entries in its MutatingWebhookConfiguration
	Mark        Sign     // what it leaves on a pod
	Ask         Sign     // what asks for it; zero where it acts on every pod that its webhook is called for
	Containers  []DescribedContainer
	Redirect    *Redirect // nil where it redirects nothing
	Annotations []Annotation
	Hold        Sign // the annotation that makes the app wait for the proxy
	Native      string
	First       string
}

// Sign is a label or an annotation of a pod with its value; without a value any will do.
type Sign struct{ Annotation, Label, Value string }

// On tells whether the pod bears the sign.
func (s Sign) On(t *Target) bool {
	value, has := t.Meta.Annotations[s.Annotation]
	if s.Label != "" {
		value, has = t.Meta.Labels[s.Label]
	}
	return has && (s.Value == "" || value == s.Value)
}

// known tells that the sign is one.
func (s Sign) known() bool { return s.Annotation != "" || s.Label != "" }

// DescribedContainer is a container that a described injector adds.
type DescribedContainer struct {
	Name     string
	Role     Role
	Phase    Phase
	First    bool // before all others of its list; else behind them
	Gated    bool // what comes after waits for it
	UID, GID int64
	To       Endpoint
}

// Redirect is what a described mesh does to a pod's traffic where the pod does not say otherwise.
type Redirect struct {
	CNI  bool
	Late bool // the node reads the pod's annotations when the pod starts
	DNS  bool
	// Inbound tells that what comes into the pod is taken too, but for the ports in ExcludeInbound.
	Inbound bool
	// WaitsForClient tells that the proxy takes a connection's first bytes from the client, whatever the port.
	WaitsForClient bool
	// Discovery is the address of the control plane, which a pod can set otherwise by the annotation DiscoveryKey.
	Discovery, DiscoveryKey string

	ExcludeCIDRs, ExcludePorts, ExcludeInbound string
	ExcludeUIDs                                []int64
}

// Described makes an injector of a description.
func Described(d *Description) *Injector {
	i := &Injector{
		Name: d.Name, Title: d.Title, Facts: "the configuration",
		Containers: map[string]Role{}, Annotations: d.Annotations, Native: d.Native,
		Owns:   func(h *Hook) (string, bool) { return "", slices.Contains(d.Webhooks, h.Name) },
		Read:   func(src *Sources, _ string) *Settings { return d.settings(src) },
		Marked: d.marked,
		Wants:  func(t *Target, _ *Settings) Tri { return TriOf((!d.Ask.known() || d.Ask.On(t)) && !d.marked(t)) },
		Asked:  d.asked,
	}
	for k := range d.Containers {
		i.Containers[d.Containers[k].Name] = d.Containers[k].Role
	}
	if d.Redirect != nil {
		i.Observe = d.observe
		if d.Redirect.WaitsForClient {
			i.ServerFirst, i.AppProtocol = func(*Target, uint16) Tri { return No }, "tcp"
		}
		if r := d.Redirect; r.DiscoveryKey != "" {
			i.Discovery = func(t *Target, _ *Settings) (said, want string) { return t.Annotation(r.DiscoveryKey), r.Discovery }
		}
	}
	if key := d.Hold; key.Annotation != "" {
		i.Hold = &Hold{Key: key.Annotation, Merge: func(value string) (string, bool, error) { return key.Value, value != "", nil }}
	}
	if d.First != "" {
		i.First = func(*Target) string { return d.First }
	}
	i.Dials = func(_ *Plan, c *corev1.Container) (Endpoint, bool) { return d.dials(c.Name) }
	i.Inject = func(p *Plan, s *Settings) { d.inject(p, i, s) }
	return i
}

// marked: a description without a mark goes by the containers' names alone.
func (d *Description) marked(t *Target) bool {
	if d.Mark.known() {
		return d.Mark.On(t)
	}
	for _, list := range [...][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for i := range list {
			if slices.ContainsFunc(d.Containers, func(c DescribedContainer) bool { return c.Name == list[i].Name }) {
				return true
			}
		}
	}
	return false
}

func (d *Description) asked(t *Target) Tri {
	if d.Ask.known() && d.Ask.On(t) {
		return Yes
	}
	return Unknown
}

func (d *Description) settings(src *Sources) *Settings {
	s := &Settings{Missing: src.Missing, Lists: true}
	if r := d.Redirect; r != nil {
		s.CNI, s.Native, s.Hold, s.DNS = TriOf(r.CNI), TriOf(d.native()), TriOf(d.holds()), TriOf(r.DNS)
		s.ExcludeCIDRs, s.ExcludePorts, s.ExcludeInbound = r.ExcludeCIDRs, r.ExcludePorts, r.ExcludeInbound
	}
	return s
}

func (d *Description) proxy() *DescribedContainer {
	if i := slices.IndexFunc(d.Containers, func(c DescribedContainer) bool { return c.Role == Proxy }); i >= 0 {
		return &d.Containers[i]
	}
	return nil
}

func (d *Description) native() bool { c := d.proxy(); return c != nil && c.Phase == Native }

func (d *Description) holds() bool {
	c := d.proxy()
	return c != nil && c.Phase == Main && c.First && c.Gated
}

func (d *Description) dials(name string) (Endpoint, bool) {
	for i := range d.Containers {
		if c := &d.Containers[i]; c.Name == name && c.To.Known() {
			return c.To, true
		}
	}
	return Endpoint{}, false
}

// observe takes the pod's annotations for what is in effect: where a described mesh renders them to is not known.
func (d *Description) observe(p *Plan, m *Mesh, installer, proxy *Step) bool {
	if installer == nil && !d.Redirect.CNI {
		return false
	}
	m.Late = m.CNI == Yes && d.Redirect.Late
	uid := NoID
	if proxy != nil {
		uid = proxy.UID
	}
	d.capture(p.Target, m, uid)
	return true
}

func (d *Description) capture(t *Target, m *Mesh, uid int64) {
	c := &m.Capture
	c.DNS = d.Redirect.DNS
	c.UIDs = slices.Clone(d.Redirect.ExcludeUIDs)
	if uid != NoID && !slices.Contains(c.UIDs, uid) {
		c.UIDs = append(c.UIDs, uid)
	}
	m.ProxyUID = uid
	cidrs, ports, inbound := d.Redirect.ExcludeCIDRs, d.Redirect.ExcludePorts, d.Redirect.ExcludeInbound
	for k := range d.Annotations {
		a := &d.Annotations[k]
		value, said := t.Meta.Annotations[a.Key]
		switch {
		case !said:
		case a.Means == ExcludeCIDRs:
			cidrs = value
		case a.Means == ExcludePorts:
			ports = value
		case a.Means == ExcludeInbound:
			inbound = value
		case a.Means == ExcludeUIDs:
			c.Users = usersOf(value)
		}
	}
	c.Exclude, _ = ParseAddresses(cidrs)
	c.ExcludePorts, _ = ParsePortRanges(ports)
	c.Inbound = Inbound{Known: true, Listed: !d.Redirect.Inbound}
	c.Inbound.Exclude, _ = ParsePortRanges(inbound)
}

// usersOf reads a comma separated list of users; what is none is passed over.
func usersOf(list string) []Users {
	var out []Users
	for entry := range strings.SplitSeq(list, ",") {
		if id := parseID(strings.TrimSpace(entry)); id >= 0 {
			out = append(out, Users{First: id, Last: id})
		}
	}
	return out
}

// inject adds the containers: those that go first in their order, before those that are there.
func (d *Description) inject(p *Plan, i *Injector, _ *Settings) {
	if p.has(i) {
		return
	}
	containers := d.on(p.Target)
	for k := range slices.Backward(containers) {
		if containers[k].First {
			d.add(p, i, &containers[k])
		}
	}
	for k := range containers {
		if !containers[k].First {
			d.add(p, i, &containers[k])
		}
	}
	if d.Redirect == nil {
		return
	}
	m := Mesh{Injector: i, CNI: TriOf(d.Redirect.CNI), Native: TriOf(d.native() || d.Native != "" && p.Target.Annotation(d.Native) == "true"), Hold: TriOf(d.holds()), ProxyGID: NoID}
	if d.Hold.Annotation != "" && m.Native == No && d.Hold.On(p.Target) {
		m.Hold = Yes
	}
	m.Late = d.Redirect.CNI && d.Redirect.Late
	uid := NoID
	if c := d.proxy(); c != nil {
		uid = c.UID
	}
	d.capture(p.Target, &m, uid)
	p.set(m)
}

// on returns the containers as the pod's annotations have them placed.
func (d *Description) on(t *Target) []DescribedContainer {
	native := d.Native != "" && t.Annotation(d.Native) == "true"
	first := d.First != "" && t.Annotation(d.First) == "true"
	held := d.Hold.Annotation != "" && d.Hold.On(t)
	if !native && !first && !held {
		return d.Containers
	}
	out := slices.Clone(d.Containers)
	for i := range out {
		switch c := &out[i]; c.Role {
		case Proxy:
			c.serve(native, held)
		case Installer, Validator:
			c.First = c.First || native
		case Dialer:
			c.First = c.First || first && c.Phase == Init
		case Own, Helper:
		}
	}
	return out
}

// serve places a proxy: as a native sidecar goes over in front of the app.
func (c *DescribedContainer) serve(native, held bool) {
	switch {
	case native:
		c.Phase, c.First, c.Gated = Native, true, true
	case held && c.Phase == Main:
		c.First, c.Gated = true, true
	}
}

func (d *Description) add(p *Plan, i *Injector, c *DescribedContainer) {
	s := Step{Name: c.Name, Phase: c.Phase, Role: c.Role, Injector: i, UID: c.UID, GID: c.GID, Gated: c.Gated}
	if c.Role == Dialer {
		to := c.To
		if !to.Known() {
			to = p.Env.Addresses[i.Name]
		}
		if to.Known() {
			s.To = []Endpoint{p.resolve(to)}
		}
	}
	p.Add(s, c.First)
}
