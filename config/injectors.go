package config

import (
	"cmp"

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

// roles are those that a container can be given, in the catalogue's words.
func roles() map[string]injectors.Role {
	out := map[string]injectors.Role{}
	for _, r := range []injectors.Role{injectors.Installer, injectors.Validator, injectors.Proxy, injectors.Dialer, injectors.Helper} {
		out[r.String()] = r
	}
	return out
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
