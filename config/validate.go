package config

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// validate is about what is not an injector; it sets the severities of rules.
func (c *Config) validate() field.ErrorList {
	var errs field.ErrorList
	if c.APIVersion != APIVersion {
		errs = append(errs, field.NotSupported(field.NewPath("apiVersion"), c.APIVersion, []string{APIVersion}))
	}
	if c.Kind != Kind {
		errs = append(errs, field.NotSupported(field.NewPath("kind"), c.Kind, []string{Kind}))
	}
	c.severities = map[string]report.Severity{}
	for rule, setting := range c.Rules {
		c.severities[rule], _ = report.ParseSeverity(string(setting)) // one of the words: it was decoded
	}
	if len(c.MeshNamespaces) == 0 {
		errs = append(errs, field.Required(field.NewPath("meshNamespaces"), "where the meshes keep their settings, such as istio-system"))
	}
	for _, remedy := range slices.Sorted(maps.Keys(c.Remedies)) {
		if !slices.Contains(Remedies(), remedy) {
			errs = append(errs, field.NotSupported(field.NewPath("remedies").Key(remedy), remedy, Remedies()))
		}
	}
	for i, namespace := range c.MeshNamespaces {
		for _, wrong := range validation.IsDNS1123Label(namespace) {
			errs = append(errs, field.Invalid(field.NewPath("meshNamespaces").Index(i), namespace, wrong))
		}
	}
	for i, kind := range c.KeepOrder {
		if kind == "" || strings.ContainsAny(kind, "/ ") {
			errs = append(errs, field.Invalid(field.NewPath("keepOrder").Index(i), kind, "must be a kind, or a kind and its group: Workspace, Workspace.example.com"))
		}
	}
	return slices.Concat(errs, c.validateMeshes(), c.validateDialers(), c.validateInits(), c.validatePorts())
}

func (c *Config) validatePorts() field.ErrorList {
	var errs field.ErrorList
	for i, port := range c.ServerFirstPorts {
		path := field.NewPath("serverFirstPorts").Index(i)
		switch {
		case port < 1 || port > 65535:
			errs = append(errs, field.Invalid(path, port, "must be a port from 1 to 65535"))
		case port == 53 || port == 80 || port == 443:
			errs = append(errs, field.Invalid(path, port, "would take most of what a pod does out of the mesh; 53, 80 and 443 are never exempt"))
		case slices.Contains(c.ServerFirstPorts[:i], port):
			errs = append(errs, field.Duplicate(path, port))
		}
	}
	return errs
}

func (c *Config) validateMeshes() field.ErrorList {
	var errs field.ErrorList
	names := c.injectorNames(func(i *injectors.Injector) bool { return i.Observe != nil })
	seen := map[string]bool{}
	for i := range c.Meshes {
		m, path := &c.Meshes[i], field.NewPath("meshes").Index(i)
		errs = append(errs, m.validate(path, names)...)
		if key := m.Injector + "/" + m.Revision; seen[key] {
			errs = append(errs, field.Duplicate(path, key))
		} else {
			seen[key] = true
		}
	}
	return errs
}

func (c *Config) validateDialers() field.ErrorList {
	var errs field.ErrorList
	names := c.injectorNames(func(i *injectors.Injector) bool { return i.Dials != nil })
	seen := map[string]bool{}
	for i := range c.Dialers {
		d, path := &c.Dialers[i], field.NewPath("dialers").Index(i)
		errs = append(errs, d.validate(path, names)...)
		if seen[d.Injector] {
			errs = append(errs, field.Duplicate(path.Child("injector"), d.Injector))
		}
		seen[d.Injector] = true
	}
	return errs
}

// injectorNames returns the names of the injectors that are of the kind.
func (c *Config) injectorNames(kind func(*injectors.Injector) bool) []string {
	var names []string
	for _, i := range c.catalogue.All {
		if kind(i) {
			names = append(names, i.Name)
		}
	}
	return names
}

func (m *Mesh) validate(path *field.Path, names []string) field.ErrorList {
	var errs field.ErrorList
	if !slices.Contains(names, m.Injector) {
		errs = append(errs, field.NotSupported(path.Child("injector"), m.Injector, names))
	}
	if m.ExcludeIPs != nil {
		if _, err := injectors.ParseCIDRs(*m.ExcludeIPs); err != nil {
			errs = append(errs, field.Invalid(path.Child("excludeOutboundIPRanges"), *m.ExcludeIPs, err.Error()))
		}
	}
	if m.ExcludePorts != nil {
		if _, err := injectors.ParsePortRanges(*m.ExcludePorts); err != nil {
			errs = append(errs, field.Invalid(path.Child("excludeOutboundPorts"), *m.ExcludePorts, err.Error()))
		}
	}
	if m.ProxyUID != nil && (*m.ProxyUID == 0 || validation.IsValidUserID(*m.ProxyUID) != nil) {
		errs = append(errs, field.Invalid(path.Child("proxyUID"), *m.ProxyUID, "must be between 1 and 2147483647"))
	}
	return errs
}

func (d *Dialer) validate(path *field.Path, names []string) field.ErrorList {
	var errs field.ErrorList
	if !slices.Contains(names, d.Injector) {
		errs = append(errs, field.NotSupported(path.Child("injector"), d.Injector, names))
	}
	if d.Address == "" && len(d.CIDRs) == 0 {
		errs = append(errs, field.Required(path.Child("address"), "or cidrs"))
	}
	if _, err := d.endpoint(); err != nil {
		errs = append(errs, field.Invalid(path.Child("address"), d.Address, err.Error()))
	}
	for i, cidr := range d.CIDRs {
		if list, err := injectors.ParseCIDRs(cidr); err != nil || len(list) != 1 {
			errs = append(errs, field.Invalid(path.Child("cidrs").Index(i), cidr, "must be one address range, such as 203.0.113.0/24"))
		} else if list[0].Bits() == 0 {
			errs = append(errs, field.Invalid(path.Child("cidrs").Index(i), cidr, "would take all traffic out of the mesh"))
		}
	}
	return errs
}

func (d *Dialer) endpoint() (injectors.Endpoint, error) { return endpoint(d.Address) }

// endpoint reads HOST:PORT or a URL; "" is nowhere in particular.
func endpoint(address string) (injectors.Endpoint, error) {
	switch {
	case address == "":
		return injectors.Endpoint{}, nil
	case strings.Contains(address, "://"):
		to, ok := injectors.ParseURL(address)
		if !ok {
			return to, errors.New("not a URL with a host")
		}
		return to, nil
	}
	return injectors.ParseHostPort(address)
}
