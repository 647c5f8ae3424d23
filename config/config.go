// Package config is Holdfast's configuration file: its shape, its defaults, and what is wrong with a given one. It reads
// bytes, never files.
package config

import (
	"maps"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// APIVersion and Kind head a configuration file.
const (
	APIVersion = "config.holdfast.dev/v1alpha1"
	Kind       = "Configuration"
)

// Names of the remedies, as configuration files, audit records and the annotation holdfast.dev/applied spell them.
const (
	Hold           = "hold"
	StartFirst     = "start-first"
	RestoreSidecar = "restore-sidecar"
	Reorder        = "reorder"
	ExemptIdentity = "exempt-identity"
	ExemptAddress  = "exempt-address"
	ExemptPort     = "exempt-port"

	ServerFirst        = "server-first-ports"
	WebhookInboundPort = "webhook-inbound-port"
)

// Remedies returns the names of all remedies, in the order in which they are tried.
func Remedies() []string {
	return []string{Hold, StartFirst, RestoreSidecar, Reorder, ExemptIdentity, ExemptAddress, ExemptPort, ServerFirst, WebhookInboundPort}
}

// Config is a configuration file.
type Config struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`

	// DefaultMode is the mode of namespaces without the label holdfast.dev/mode, where Holdfast is installed cluster-wide.
	DefaultMode Mode `json:"defaultMode"`
	// Workloads says what happens to a workload whose pods certainly cannot start: refuse (default) or warn.
	Workloads Workloads `json:"workloads"`
	// TemplateHold says whether hold is added to the templates of workloads.
	TemplateHold bool `json:"templateHold"`
	// MeshNamespaces are the namespaces in which meshes keep their settings.
	MeshNamespaces []string `json:"meshNamespaces"`

	// Rules sets the severity of rules, by code or by name; off switches a rule off.
	Rules map[string]Setting `json:"rules,omitempty"`
	// Remedies switches remedies on or off, by name.
	Remedies map[string]bool `json:"remedies,omitempty"`
	// KeepOrder lists the kinds of owners (Kind, or Kind.group) whose pods are never reordered: their controllers compare
	// the pods they made with the pods they find.
	KeepOrder []string `json:"keepOrder,omitempty"`
	// ExemptAnnotations says whether a pod may exempt itself with holdfast.dev/exempt.
	ExemptAnnotations bool `json:"exemptAnnotations"`

	// Meshes says what cannot be read of a mesh, or overrides what was read.
	Meshes []Mesh `json:"meshes,omitempty"`
	// Dialers says where injected containers connect to, where neither the pod nor the cluster says it.
	Dialers []Dialer `json:"dialers,omitempty"`

	// Injectors describes injectors that Holdfast does not know by itself.
	Injectors []Injector `json:"injectors,omitempty"`
	// InitNetwork lists init containers that are known to need the network, by name or image, in every pod.
	InitNetwork []InitContainer `json:"initNetwork,omitempty"`

	// ServerFirstPorts are ports on which the server speaks first, for every destination of every pod. Where a mesh would wait
	// there for the client to speak, they leave it.
	ServerFirstPorts []int32 `json:"serverFirstPorts,omitempty"`

	severities map[string]report.Severity
	catalogue  *injectors.Catalogue
}

// Mesh is what a configuration file says of one revision of a mesh. Fields that are absent leave what was read.
type Mesh struct {
	Injector   string  `json:"injector"`
	Revision   string  `json:"revision,omitempty"` // every revision where empty
	CNI        *bool   `json:"cni,omitempty"`
	Native     *bool   `json:"native,omitempty"`
	Hold       *bool   `json:"hold,omitempty"`
	DNSCapture *bool   `json:"dnsCapture,omitempty"`
	Lifecycle  *bool   `json:"lifecycle,omitempty"`
	ExcludeIPs *string `json:"excludeOutboundIPRanges,omitempty"`
	// ExcludePorts are the ports that the mesh leaves out of its redirect, mesh-wide. What is said of one of the two lists says that
	// both are known.
	ExcludePorts *string `json:"excludeOutboundPorts,omitempty"`
	ProxyUID     *int64  `json:"proxyUID,omitempty"`
}

// Dialer is where an injector's container connects to.
type Dialer struct {
	Injector string `json:"injector"`
	Address  string `json:"address,omitempty"` // HOST:PORT or a URL
	// CIDRs are the address ranges behind a name that is no Service of the cluster.
	CIDRs []string `json:"cidrs,omitempty"`
}

// Default returns the configuration that holds where there is no file.
func Default() *Config {
	c, err := Load([]byte("{}"))
	if err != nil {
		panic("the default configuration is invalid: " + err.Error())
	}
	return c
}

// Load reads a configuration file: YAML or JSON, one document; unknown and repeated keys are errors. Everything that is wrong with it is
// reported at once, each with its path.
func Load(data []byte) (*Config, error) {
	c := &Config{
		APIVersion:        APIVersion,
		Kind:              Kind,
		DefaultMode:       Audit,
		Workloads:         RefuseWorkloads,
		TemplateHold:      true,
		MeshNamespaces:    []string{"istio-system"},
		ExemptAnnotations: true,
	}
	errs, err := decode(data, c)
	if err != nil {
		return nil, err
	}
	builtin := injectors.Builtin()
	known := injectors.NewCatalogue(builtin...)
	c.catalogue = known
	if len(c.Injectors) > 0 {
		for i := range c.Injectors {
			builtin = append(builtin, c.Injectors[i].describe())
		}
		c.catalogue = injectors.NewCatalogue(builtin...)
	}
	for _, e := range slices.Concat(c.validateInjectors(known), c.validate()) {
		if !follows(e, errs) {
			errs = append(errs, e)
		}
	}
	if len(errs) > 0 {
		return nil, mistakes(errs)
	}
	return c, nil
}

// Severity returns the severity that a rule has under this configuration.
func (c *Config) Severity(t *report.Topic) report.Severity {
	if s, ok := c.severities[t.Code]; ok {
		return s
	}
	if s, ok := c.severities[t.Name]; ok {
		return s
	}
	return t.Severity
}

// CheckRules tells which keys under rules name no rule, or one that another key has named already. The topics are given because rules know the configuration, not the
// other way round.
func (c *Config) CheckRules(topics []report.Topic) error {
	var errs field.ErrorList
	named := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(c.Rules)) {
		at := slices.IndexFunc(topics, func(t report.Topic) bool { return t.Code == key || t.Name == key })
		switch {
		case at >= 0 && named[topics[at].Code]:
			errs = append(errs, field.Duplicate(field.NewPath("rules").Key(key), "the rule "+topics[at].Code+" is "+topics[at].Name))
		case at >= 0:
			named[topics[at].Code] = true
		default:
			errs = append(errs, field.Invalid(field.NewPath("rules").Key(key), key, "no rule has this code or name; docs/rules.md has them all"))
		}
	}
	return mistakes(errs)
}

// Remedy tells whether a remedy is switched on. Those that reach further than the containers in need are off unless asked for.
func (c *Config) Remedy(name string) bool {
	if on, ok := c.Remedies[name]; ok {
		return on
	}
	return name != ExemptIdentity && name != ExemptPort && name != WebhookInboundPort
}

// Catalogue returns the injectors that are known under this configuration: always the same one, because an injector is told
// from another by identity.
func (c *Config) Catalogue() *injectors.Catalogue { return c.catalogue }

// Addresses returns the configured destinations by injector name.
func (c *Config) Addresses() map[string]injectors.Endpoint {
	out := make(map[string]injectors.Endpoint, len(c.Dialers))
	for i := range c.Dialers {
		if to, err := c.Dialers[i].endpoint(); err == nil && to.Known() {
			out[c.Dialers[i].Injector] = to
		}
	}
	return out
}

// Ranges returns the configured address ranges behind the destination of an injector's container.
func (c *Config) Ranges(injector string) []netip.Prefix {
	var out []netip.Prefix
	for i := range c.Dialers {
		if c.Dialers[i].Injector != injector {
			continue
		}
		for _, cidr := range c.Dialers[i].CIDRs {
			ranges, _ := injectors.ParseCIDRs(cidr) // validated when loaded
			out = append(out, ranges...)
		}
	}
	return out
}

// Override returns the settings of a mesh with what the configuration says of it; what was read is not changed.
func (c *Config) Override(injector, revision string, read *injectors.Settings) *injectors.Settings {
	out := *read
	for i := range c.Meshes {
		m := &c.Meshes[i]
		if m.Injector != injector || m.Revision != "" && m.Revision != revision {
			continue
		}
		override(&out.CNI, m.CNI)
		override(&out.Native, m.Native)
		override(&out.Hold, m.Hold)
		override(&out.DNS, m.DNSCapture)
		if m.Lifecycle != nil {
			out.Lifecycle = *m.Lifecycle
		}
		if m.ExcludeIPs != nil {
			out.ExcludeCIDRs, out.Lists = *m.ExcludeIPs, true
		}
		if m.ExcludePorts != nil {
			out.ExcludePorts, out.Lists = *m.ExcludePorts, true
		}
		if m.ProxyUID != nil {
			out.ProxyUID = *m.ProxyUID
		}
	}
	return &out
}

func override(t *injectors.Tri, said *bool) {
	if said != nil {
		*t = injectors.TriOf(*said)
	}
}
