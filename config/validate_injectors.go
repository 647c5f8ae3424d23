package config

import (
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"holdfast.dev/holdfast/injectors"
)

// maxInjectors bounds how many injectors a file describes, and how many init containers it lists.
const maxInjectors, maxInits = 8, 64

// taken is what belongs to one injector alone, and to whom: Istio, injectors[0].name. Two that claim the same could not be told apart.
type taken struct {
	builtin                           *injectors.Catalogue
	names, webhooks, containers, keys map[string]string
}

// take returns an error where somebody has the value already.
func take(of map[string]string, path *field.Path, value, owner string) field.ErrorList {
	if owner == "" {
		owner = of[value]
	}
	if owner == "" {
		of[value] = path.String()
		return nil
	}
	e := field.Duplicate(path, value)
	e.Detail = "already in " + owner
	return field.ErrorList{e}
}

// owner returns which injector of the catalogue something belongs to, "" where it is nobody's.
func (t *taken) owner(has func(*injectors.Injector) bool) string {
	if i := slices.IndexFunc(t.builtin.All, has); i >= 0 {
		return "the catalogue: " + t.builtin.All[i].Title
	}
	return ""
}

func (t *taken) name(path *field.Path, name string) field.ErrorList {
	return take(t.names, path, name, t.owner(func(i *injectors.Injector) bool { return i.Name == name }))
}

func (t *taken) webhook(path *field.Path, name string) field.ErrorList {
	h := &injectors.Hook{Name: name, Namespaces: labels.Everything(), Objects: labels.Everything()}
	return take(t.webhooks, path, name, t.owner(func(i *injectors.Injector) bool {
		if i.Owns == nil {
			return false
		}
		_, owns := i.Owns(h)
		return owns
	}))
}

// container: a common name can be that of a described injector's container too, unless it stands for all that begin so.
func (t *taken) container(path *field.Path, name string) field.ErrorList {
	return take(t.containers, path, name, t.owner(func(i *injectors.Injector) bool {
		if _, ok := i.Containers[name]; ok {
			return true
		}
		for _, list := range []map[string]injectors.Role{i.Containers, i.Common} {
			for known := range list {
				if begins, ok := strings.CutSuffix(known, "*"); ok && strings.HasPrefix(name, begins) {
					return true
				}
			}
		}
		return false
	}))
}

// key: keys of the catalogue that end in a dash or a slash stand for all that begin so.
func (t *taken) key(path *field.Path, key string) field.ErrorList {
	return take(t.keys, path, key, t.owner(func(i *injectors.Injector) bool {
		return slices.ContainsFunc(i.Annotations, func(a injectors.Annotation) bool {
			many := strings.HasSuffix(a.Key, "-") || strings.HasSuffix(a.Key, "/")
			return a.Key == key || many && strings.HasPrefix(key, a.Key)
		})
	}))
}

func (c *Config) validateInjectors(builtin *injectors.Catalogue) field.ErrorList {
	path := field.NewPath("injectors")
	var errs field.ErrorList
	if len(c.Injectors) > maxInjectors {
		errs = append(errs, field.TooMany(path, len(c.Injectors), maxInjectors))
	}
	t := &taken{builtin: builtin, names: map[string]string{}, webhooks: map[string]string{}, containers: map[string]string{}, keys: map[string]string{}}
	for k := range c.Injectors {
		errs = append(errs, c.Injectors[k].validate(path.Index(k), t)...)
	}
	return errs
}

func (i *Injector) validate(path *field.Path, t *taken) field.ErrorList {
	var errs field.ErrorList
	for _, wrong := range validation.IsDNS1123Label(i.Name) {
		errs = append(errs, field.Invalid(path.Child("name"), i.Name, wrong))
	}
	errs = slices.Concat(errs, t.name(path.Child("name"), i.Name), i.Mark.validate(path.Child("mark")), i.Ask.validate(path.Child("ask")))
	for k, name := range i.Webhooks {
		path := path.Child("webhooks").Index(k)
		errs = slices.Concat(errs, validation.IsFullyQualifiedName(path, name), t.webhook(path, name))
	}
	if len(i.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), "at least one"))
	}
	for k := range i.Containers {
		path := path.Child("containers").Index(k)
		errs = slices.Concat(errs, i.Containers[k].validate(path), t.container(path.Child("name"), i.Containers[k].Name))
	}
	return slices.Concat(errs, i.validateRedirect(path), i.validateKeys(path.Child("annotations"), t))
}

// has tells whether one of the containers has the role. Where a role is none, and has been named, nothing is said to be missing.
func (i *Injector) has(role injectors.Role) bool {
	return slices.ContainsFunc(i.Containers, func(c Container) bool { known, ok := roles()[c.Role]; return !ok || known == role })
}

func (s *Sign) validate(path *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	if (s.Annotation == "") == (s.Label == "") {
		return field.ErrorList{field.Invalid(path, *s, "must have either an annotation or a label")}
	}
	errs := qualified(path, s.Annotation+s.Label)
	if s.Label != "" {
		for _, wrong := range validation.IsValidLabelValue(s.Value) {
			errs = append(errs, field.Invalid(path.Child("value"), s.Value, wrong))
		}
	}
	return errs
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
	for _, id := range []struct {
		name string
		id   *int64
	}{{"uid", c.UID}, {"gid", c.GID}} {
		if id.id != nil {
			errs = append(errs, validateID(path.Child(id.name), *id.id)...)
		}
	}
	if _, err := endpoint(c.Address); err != nil {
		errs = append(errs, field.Invalid(path.Child("address"), c.Address, err.Error()))
	}
	return append(errs, c.validateRole(path)...)
}

// validateID is about a user or a group: Kubernetes has the same bounds for both.
func validateID(path *field.Path, id int64) field.ErrorList {
	var errs field.ErrorList
	for _, wrong := range validation.IsValidUserID(id) {
		errs = append(errs, field.Invalid(path, id, wrong))
	}
	return errs
}

// validateRole: what a container does, and where it can stand.
func (c *Container) validateRole(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Place != "" && c.Place != "first" && c.Place != "last" {
		errs = append(errs, field.NotSupported(path.Child("place"), c.Place, []string{"first", "last"}))
	}
	if c.Main && c.Native {
		errs = append(errs, field.Invalid(path.Child("native"), true, "a native sidecar is among the init containers, not main"))
	}
	switch role, known := roles()[c.Role]; {
	case !known:
		return append(errs, field.NotSupported(path.Child("role"), c.Role, []string{"installer", "validator", "proxy", "dialer", "helper"}))
	case role == injectors.Proxy:
	case role == injectors.Dialer:
		if c.Gated && !c.Main && !c.Native {
			errs = append(errs, field.Invalid(path.Child("gated"), true, "what comes after an init container waits for its end; only with native or main"))
		}
		return errs
	default:
		errs = append(errs, c.validateIdle(path, role)...)
	}
	if c.Address != "" {
		errs = append(errs, field.Forbidden(path.Child("address"), "only a dialer connects somewhere"))
	}
	return errs
}

// validateIdle: nothing waits for what neither serves nor connects, and runs on.
func (c *Container) validateIdle(path *field.Path, role injectors.Role) field.ErrorList {
	var errs field.ErrorList
	why := c.Role + "s are init containers, and end"
	if role == injectors.Helper {
		why = "makes no difference for a helper; only for a proxy or a dialer"
	} else if c.Main {
		errs = append(errs, field.Invalid(path.Child("main"), true, why))
	}
	if c.Native {
		errs = append(errs, field.Invalid(path.Child("native"), true, why))
	}
	if c.Gated {
		errs = append(errs, field.Invalid(path.Child("gated"), true, why))
	}
	return errs
}

// validateRedirect: who redirects says so, and has a proxy.
func (i *Injector) validateRedirect(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	path = path.Child("redirect")
	r := i.Redirect
	if r == nil {
		redirects := func(c Container) bool { return c.Role == "installer" || c.Role == "validator" || c.Role == "proxy" }
		if slices.ContainsFunc(i.Containers, redirects) {
			errs = append(errs, field.Required(path, "an installer, a validator or a proxy redirects; {} where nothing is to be said"))
		}
		return errs
	}
	installer := slices.ContainsFunc(i.Containers, func(c Container) bool { return c.Role == "installer" })
	switch {
	case !i.has(injectors.Proxy):
		errs = append(errs, field.Required(path, "a redirect needs a container with the role proxy"))
	case !r.CNI && !i.has(injectors.Installer):
		errs = append(errs, field.Required(path, "a redirect needs cni: true, or a container with the role installer"))
	case r.CNI && installer:
		errs = append(errs, field.Invalid(path.Child("cni"), true, "a node plugin has no installer; its init container is a validator"))
	}
	if r.Late && !r.CNI {
		errs = append(errs, field.Invalid(path.Child("late"), true, "only a node plugin reads the annotations of the finished pod"))
	}
	for k, uid := range r.ExcludeUIDs {
		path := path.Child("excludeUIDs").Index(k)
		errs = append(errs, validateID(path, uid)...)
		if slices.Contains(r.ExcludeUIDs[:k], uid) {
			errs = append(errs, field.Duplicate(path, uid))
		}
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

// validateKeys: the keys are the injector's own, and tell it something that it can do.
func (i *Injector) validateKeys(path *field.Path, t *taken) field.ErrorList {
	var errs field.ErrorList
	k := &i.Annotations
	redirects := "only with a redirect"
	if i.Redirect != nil {
		redirects = ""
	}
	serves, dials := "only with a container of the role proxy", "only with a container of the role dialer"
	if i.has(injectors.Proxy) {
		serves = ""
	}
	if i.has(injectors.Dialer) {
		dials = ""
	}
	for _, key := range []struct{ name, key, not string }{
		{"excludeOutboundIPRanges", k.ExcludeIPs, redirects},
		{"excludeOutboundPorts", k.ExcludePorts, redirects},
		{"excludeUIDs", k.ExcludeUIDs, redirects},
		{"excludeInboundPorts", k.ExcludeIn, redirects},
		{"discovery", k.Discovery, redirects},
		{"hold", k.Hold, serves},
		{"native", k.Native, serves},
		{"first", k.First, dials},
	} {
		if key.key == "" {
			continue
		}
		path := path.Child(key.name)
		errs = slices.Concat(errs, qualified(path, key.key), t.key(path, key.key))
		if key.not != "" {
			errs = append(errs, field.Forbidden(path, key.not))
		}
	}
	for n, key := range k.Others {
		path := path.Child("others").Index(n)
		errs = slices.Concat(errs, qualified(path, key), t.key(path, key))
	}
	if k.HoldValue != "" && k.Hold == "" {
		errs = append(errs, field.Required(path.Child("hold"), "where there is a holdValue"))
	}
	return errs
}

// repositories are the names of images without a tag or a digest, with or without a registry (github.com/distribution/reference has
// the grammar).
var repositories = regexp.MustCompile(`^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

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
		if i.Name != "" {
			for _, wrong := range validation.IsDNS1123Label(i.Name) {
				errs = append(errs, field.Invalid(path.Child("name"), i.Name, wrong))
			}
		}
		if i.Image != "" && !repositories.MatchString(i.Image) {
			errs = append(errs, field.Invalid(path.Child("image"), i.Image, "must be a repository without a tag or a digest, such as flyway/flyway"))
		}
		if slices.Contains(c.InitNetwork[:k], *i) { // the same container with another address has two
			errs = append(errs, field.Duplicate(path, *i))
		}
		if _, err := endpoint(i.Address); err != nil {
			errs = append(errs, field.Invalid(path.Child("address"), i.Address, err.Error()))
		}
	}
	return errs
}
