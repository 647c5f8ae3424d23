package config

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"holdfast.dev/holdfast/injectors"
)

// Injector describes an injector that Holdfast does not know by itself.
type Injector struct {
	Name  string `json:"name"`
	Title string `json:"title,omitempty"` // the name where absent
	// Webhooks are the names of its entries in MutatingWebhookConfigurations; without any it is seen in finished pods alone.
	Webhooks []string `json:"webhooks,omitempty"`
	// Mark is what it leaves on a pod, Ask what asks for it; without Ask it acts on every pod that its webhook is called for.
	Mark *Sign `json:"mark,omitempty"`
	Ask  *Sign `json:"ask,omitempty"`

	Containers []Container `json:"containers"`
	Redirect   *Redirect   `json:"redirect,omitempty"`
	// Annotations are the keys that it reads on pods, by what they mean.
	Annotations Keys `json:"annotations,omitzero"`
}

// Sign is a label or an annotation; without a value any will do.
type Sign struct {
	Annotation string `json:"annotation,omitempty"`
	Label      string `json:"label,omitempty"`
	Value      string `json:"value,omitempty"`
}

// Container is one that an injector adds.
type Container struct {
	Name string `json:"name"`
	Role string `json:"role"` // installer, validator, proxy, dialer or helper
	// Place is where it goes: first or last (default) among the init containers, or among the containers.
	Place string `json:"place,omitempty"`
	// Main puts it among the containers; proxies are there unless they are native.
	Main   bool `json:"main,omitempty"`
	Native bool `json:"native,omitempty"`
	// Gated says that what comes after waits until it is ready (a startup probe, a postStart hook).
	Gated   bool   `json:"gated,omitempty"`
	UID     *int64 `json:"uid,omitempty"`
	GID     *int64 `json:"gid,omitempty"`
	Address string `json:"address,omitempty"` // of a dialer: HOST:PORT or a URL
}

// Redirect is what a mesh does to the traffic of its pods.
type Redirect struct {
	CNI  bool `json:"cni,omitempty"`  // a node plugin redirects
	Late bool `json:"late,omitempty"` // it reads the annotations of the finished pod
	DNS  bool `json:"dns,omitempty"`  // queries for names go to the proxy too

	ExcludeIPs   string  `json:"excludeOutboundIPRanges,omitempty"`
	ExcludePorts string  `json:"excludeOutboundPorts,omitempty"`
	ExcludeUIDs  []int64 `json:"excludeUIDs,omitempty"`

	Inbound        bool   `json:"inbound,omitempty"` // it takes what comes into the pod too
	ExcludeInbound string `json:"excludeInboundPorts,omitempty"`
	// WaitsForClient says that the proxy takes a connection's first bytes from the client, to tell which protocol it carries.
	WaitsForClient bool `json:"waitsForClient,omitempty"`
	// Discovery is where its proxies find the control plane: HOST:PORT.
	Discovery string `json:"discovery,omitempty"`
}

// Keys are the annotations that an injector reads on pods.
type Keys struct {
	ExcludeIPs   string `json:"excludeOutboundIPRanges,omitempty"`
	ExcludePorts string `json:"excludeOutboundPorts,omitempty"`
	ExcludeUIDs  string `json:"excludeUIDs,omitempty"`
	ExcludeIn    string `json:"excludeInboundPorts,omitempty"`
	// Discovery tells the proxy where the control plane is.
	Discovery string `json:"discovery,omitempty"`
	// Hold makes the app wait for the proxy; HoldValue is its value ("true" where absent).
	Hold      string `json:"hold,omitempty"`
	HoldValue string `json:"holdValue,omitempty"`
	// Native, set to "true", makes the proxy a native sidecar; First puts the dialer before all other init containers.
	Native string   `json:"native,omitempty"`
	First  string   `json:"first,omitempty"`
	Others []string `json:"others,omitempty"`
}

// InitContainer is an init container that is known to need the network.
type InitContainer struct {
	Name    string `json:"name,omitempty"`
	Image   string `json:"image,omitempty"`
	Address string `json:"address,omitempty"` // HOST:PORT or a URL
}

// maxInjectors bounds how many injectors a file describes, and how many init containers it lists.
const maxInjectors, maxInits = 8, 64

// roles are those that a container can be given, in the catalogue's words.
func roles() map[string]injectors.Role {
	out := map[string]injectors.Role{}
	for _, r := range []injectors.Role{injectors.Installer, injectors.Validator, injectors.Proxy, injectors.Dialer, injectors.Helper} {
		out[r.String()] = r
	}
	return out
}

func (c *Config) validateInjectors(builtin *injectors.Catalogue) field.ErrorList {
	path := field.NewPath("injectors")
	var errs field.ErrorList
	if len(c.Injectors) > maxInjectors {
		errs = append(errs, field.TooMany(path, len(c.Injectors), maxInjectors))
	}
	names, containers := map[string]bool{}, map[string]bool{}
	for _, i := range builtin.All {
		names[i.Name] = true
		for name := range i.Containers {
			containers[name] = true
		}
	}
	for k := range c.Injectors {
		i, path := &c.Injectors[k], path.Index(k)
		if names[i.Name] {
			errs = append(errs, field.Duplicate(path.Child("name"), i.Name))
		}
		names[i.Name] = true
		errs = append(errs, i.validate(path)...)
		for n := range i.Containers {
			name := i.Containers[n].Name
			if containers[name] {
				errs = append(errs, field.Duplicate(path.Child("containers").Index(n).Child("name"), name))
			}
			containers[name] = true
		}
	}
	return errs
}

func (i *Injector) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, wrong := range validation.IsDNS1123Label(i.Name) {
		errs = append(errs, field.Invalid(path.Child("name"), i.Name, wrong))
	}
	errs = append(append(errs, i.Mark.validate(path.Child("mark"))...), i.Ask.validate(path.Child("ask"))...)
	for k, name := range i.Webhooks {
		if len(strings.Split(name, ".")) < 3 { // as the API server requires
			errs = append(errs, field.Invalid(path.Child("webhooks").Index(k), name, "must be the name of an entry, such as inject.example.com"))
		}
	}
	if len(i.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), "at least one"))
	}
	for k := range i.Containers {
		errs = append(errs, i.Containers[k].validate(path.Child("containers").Index(k))...)
	}
	errs = append(errs, i.validateRedirect(path)...)
	return append(errs, i.Annotations.validate(path.Child("annotations"))...)
}

func (s *Sign) validate(path *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	if (s.Annotation == "") == (s.Label == "") {
		return field.ErrorList{field.Invalid(path, *s, "must have either an annotation or a label")}
	}
	return qualified(path, s.Annotation+s.Label)
}

func qualified(path *field.Path, key string) field.ErrorList {
	var errs field.ErrorList
	for _, wrong := range validation.IsQualifiedName(key) {
		errs = append(errs, field.Invalid(path, key, wrong))
	}
	return errs
}

func (c *Container) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, wrong := range validation.IsDNS1123Label(c.Name) {
		errs = append(errs, field.Invalid(path.Child("name"), c.Name, wrong))
	}
	for name, id := range map[string]*int64{"uid": c.UID, "gid": c.GID} {
		if id != nil && *id < 0 {
			errs = append(errs, field.Invalid(path.Child(name), *id, "must not be negative"))
		}
	}
	if _, err := endpoint(c.Address); err != nil {
		errs = append(errs, field.Invalid(path.Child("address"), c.Address, err.Error()))
	}
	return append(errs, c.validateRole(path)...)
}

// validateRole: what a container does, and where it can stand.
func (c *Container) validateRole(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	role, known := roles()[c.Role]
	if !known {
		errs = append(errs, field.NotSupported(path.Child("role"), c.Role, []string{"installer", "validator", "proxy", "dialer", "helper"}))
	}
	if c.Place != "" && c.Place != "first" && c.Place != "last" {
		errs = append(errs, field.NotSupported(path.Child("place"), c.Place, []string{"first", "last"}))
	}
	if c.Main && c.Native {
		errs = append(errs, field.Invalid(path.Child("native"), true, "a native sidecar is among the init containers, not main"))
	}
	if c.Main && (role == injectors.Installer || role == injectors.Validator) {
		errs = append(errs, field.Invalid(path.Child("main"), true, c.Role+"s are init containers"))
	}
	if c.Address != "" && role != injectors.Dialer {
		errs = append(errs, field.Forbidden(path.Child("address"), "only a dialer connects somewhere"))
	}
	return errs
}

// validateRedirect: who redirects says so, and has a proxy.
func (i *Injector) validateRedirect(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	has := func(role string) bool {
		return slices.ContainsFunc(i.Containers, func(c Container) bool { return c.Role == role })
	}
	r := i.Redirect
	if r == nil {
		if has("installer") || has("validator") || has("proxy") {
			errs = append(errs, field.Required(path.Child("redirect"), "an installer, a validator or a proxy redirects; {} where nothing is to be said"))
		}
		return errs
	}
	path = path.Child("redirect")
	switch {
	case !has("proxy"):
		errs = append(errs, field.Required(path, "a redirect needs a container with the role proxy"))
	case !r.CNI && !has("installer"):
		errs = append(errs, field.Required(path, "a redirect needs cni: true, or a container with the role installer"))
	case r.CNI && has("installer"):
		errs = append(errs, field.Invalid(path.Child("cni"), true, "a node plugin has no installer; its init container is a validator"))
	}
	if r.Late && !r.CNI {
		errs = append(errs, field.Invalid(path.Child("late"), true, "only a node plugin reads the annotations of the finished pod"))
	}
	return append(errs, r.validateLists(path)...)
}

func (r *Redirect) validateLists(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if _, err := injectors.ParseAddresses(r.ExcludeIPs); err != nil {
		errs = append(errs, field.Invalid(path.Child("excludeOutboundIPRanges"), r.ExcludeIPs, err.Error()))
	}
	if _, err := injectors.ParsePortRanges(r.ExcludePorts); err != nil {
		errs = append(errs, field.Invalid(path.Child("excludeOutboundPorts"), r.ExcludePorts, err.Error()))
	}
	if _, err := injectors.ParsePortRanges(r.ExcludeInbound); err != nil {
		errs = append(errs, field.Invalid(path.Child("excludeInboundPorts"), r.ExcludeInbound, err.Error()))
	}
	if r.Discovery != "" {
		if _, err := injectors.ParseHostPort(r.Discovery); err != nil {
			errs = append(errs, field.Invalid(path.Child("discovery"), r.Discovery, err.Error()))
		}
	}
	if r.ExcludeInbound != "" && !r.Inbound {
		errs = append(errs, field.Required(path.Child("inbound"), "where there are excludeInboundPorts"))
	}
	return errs
}

func (k *Keys) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, key := range []struct{ name, key string }{
		{"excludeOutboundIPRanges", k.ExcludeIPs},
		{"excludeOutboundPorts", k.ExcludePorts},
		{"excludeUIDs", k.ExcludeUIDs},
		{"excludeInboundPorts", k.ExcludeIn},
		{"discovery", k.Discovery},
		{"hold", k.Hold},
		{"native", k.Native},
		{"first", k.First},
	} {
		if key.key != "" {
			errs = append(errs, qualified(path.Child(key.name), key.key)...)
		}
	}
	for i, key := range k.Others {
		errs = append(errs, qualified(path.Child("others").Index(i), key)...)
	}
	if k.HoldValue != "" && k.Hold == "" {
		errs = append(errs, field.Required(path.Child("hold"), "where there is a holdValue"))
	}
	return errs
}

// describe says it in the catalogue's terms.
func (i *Injector) describe() *injectors.Injector {
	d := &injectors.Description{
		Name: i.Name, Title: cmp.Or(i.Title, i.Name), Webhooks: i.Webhooks, Mark: i.Mark.sign(), Ask: i.Ask.sign(),
		Native: i.Annotations.Native, First: i.Annotations.First, Annotations: i.Annotations.list(),
	}
	if key := i.Annotations.Hold; key != "" {
		d.Hold = injectors.Sign{Annotation: key, Value: cmp.Or(i.Annotations.HoldValue, "true")}
	}
	if r := i.Redirect; r != nil {
		d.Redirect = &injectors.Redirect{
			CNI: r.CNI, Late: r.Late, DNS: r.DNS, ExcludeCIDRs: r.ExcludeIPs, ExcludePorts: r.ExcludePorts, ExcludeUIDs: r.ExcludeUIDs,
			Inbound: r.Inbound, ExcludeInbound: r.ExcludeInbound, WaitsForClient: r.WaitsForClient,
			Discovery: r.Discovery, DiscoveryKey: i.Annotations.Discovery,
		}
	}
	for k := range i.Containers {
		d.Containers = append(d.Containers, i.Containers[k].describe())
	}
	return injectors.Described(d)
}

func (s *Sign) sign() injectors.Sign {
	if s == nil {
		return injectors.Sign{}
	}
	return injectors.Sign{Annotation: s.Annotation, Label: s.Label, Value: s.Value}
}

func (c *Container) describe() injectors.DescribedContainer {
	out := injectors.DescribedContainer{
		Name: c.Name, Role: roles()[c.Role], First: c.Place == "first", Gated: c.Gated, UID: injectors.NoID, GID: injectors.NoID,
	}
	out.To, _ = endpoint(c.Address) // validated when loaded
	switch {
	case c.Native:
		out.Phase = injectors.Native
	case c.Main || out.Role == injectors.Proxy:
		out.Phase = injectors.Main
	}
	if c.UID != nil {
		out.UID = *c.UID
	}
	if c.GID != nil {
		out.GID = *c.GID
	}
	return out
}

func (k *Keys) list() []injectors.Annotation {
	cidrs := func(value string) error { _, err := injectors.ParseAddresses(value); return err }
	ports := func(value string) error { _, err := injectors.ParsePortRanges(value); return err }
	var out []injectors.Annotation
	for _, a := range []injectors.Annotation{
		{Key: k.ExcludeIPs, Means: injectors.ExcludeCIDRs, CIDRs: injectors.ParseAddresses, Check: cidrs},
		{Key: k.ExcludePorts, Means: injectors.ExcludePorts, Ports: injectors.ParsePortRanges, Check: ports},
		{Key: k.ExcludeUIDs, Means: injectors.ExcludeUIDs},
		{Key: k.ExcludeIn, Means: injectors.ExcludeInbound, Ports: injectors.ParsePortRanges, Check: ports},
		{Key: k.Hold},
		{Key: k.Native},
		{Key: k.First},
		{Key: k.Discovery},
	} {
		if a.Key != "" {
			out = append(out, a)
		}
	}
	for _, key := range k.Others {
		out = append(out, injectors.Annotation{Key: key})
	}
	return out
}

func (c *Config) validateInits() field.ErrorList {
	path := field.NewPath("initNetwork")
	var errs field.ErrorList
	if len(c.InitNetwork) > maxInits {
		errs = append(errs, field.TooMany(path, len(c.InitNetwork), maxInits))
	}
	for k := range c.InitNetwork {
		i, path := &c.InitNetwork[k], path.Index(k)
		if i.Name == "" && i.Image == "" {
			errs = append(errs, field.Required(path.Child("name"), "or image"))
		}
		if strings.ContainsAny(i.Image, "@ ") || strings.Contains(i.Image[strings.LastIndexByte(i.Image, '/')+1:], ":") {
			errs = append(errs, field.Invalid(path.Child("image"), i.Image, "must be a repository without a tag or a digest, such as flyway/flyway"))
		}
		if _, err := endpoint(i.Address); err != nil {
			errs = append(errs, field.Invalid(path.Child("address"), i.Address, err.Error()))
		}
	}
	return errs
}

// KnownInits returns the init containers that are known to need the network.
func (c *Config) KnownInits() []injectors.KnownInit {
	var out []injectors.KnownInit
	for k := range c.InitNetwork {
		i := &c.InitNetwork[k]
		to, _ := endpoint(i.Address) // validated when loaded
		out = append(out, injectors.KnownInit{Name: i.Name, Image: i.Image, To: to})
	}
	return out
}
