package injectors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"
)

// wrap makes dialers of those containers of the user's that an injector will wrap, and tells whether there are any. its tells
// which they are, and where they connect to.
func (p *Plan) wrap(i *Injector, its func(s *Step, c *corev1.Container) (to []Endpoint, ok bool)) bool {
	wrapped := false
	for _, list := range [...][]Step{p.Inits, p.Mains} {
		for k := range list {
			s := &list[k]
			if s.Role != Own || s.Index < 0 {
				continue
			}
			if to, ok := its(s, p.Container(s)); ok {
				s.Role, s.Injector, s.Wrapped, s.To = Dialer, i, true, to
				wrapped = true
			}
		}
	}
	return wrapped
}

// destination is where a dialer to come connects to: where its injector says, else where the configuration does.
func (p *Plan) destination(i *Injector, to Endpoint, ok bool) []Endpoint {
	if !ok {
		to, ok = p.Env.Addresses[i.Name]
	}
	if !ok {
		return nil
	}
	return []Endpoint{p.resolve(to)}
}

// foreseen is the same for a dialer of which the injected pod will say more: until then what can be done about it is in doubt.
func (p *Plan) foreseen(i *Injector, to Endpoint, ok bool) []Endpoint {
	known := p.destination(i, to, ok)
	if known == nil {
		p.Doubt("where " + i.Title + " connects to is not known yet")
	}
	return known
}

// podIDs are those of a container that has none of its own.
func podIDs(t *Target) (uid, gid int64) {
	if ps := t.Spec.SecurityContext; ps != nil {
		return orID(ps.RunAsUser, NoID), orID(ps.RunAsGroup, NoID)
	}
	return NoID, NoID
}

// annotatedID reads an id from an annotation, which goes over the setting even where it cannot be read.
func annotatedID(t *Target, key string, otherwise int64) int64 {
	if value, ok := t.Meta.Annotations[key]; ok {
		return parseID(value)
	}
	return otherwise
}

// inEnvironment tells whether a literal value of the container's environment is of that kind.
func inEnvironment(c *corev1.Container, of func(value string) bool) bool {
	return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Value != "" && of(e.Value) })
}

// refers tells whether values of the container's environment stand in a ConfigMap or a Secret.
func refers(c *corev1.Container) bool {
	return len(c.EnvFrom) > 0 || slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
		return e.ValueFrom != nil && (e.ValueFrom.ConfigMapKeyRef != nil || e.ValueFrom.SecretKeyRef != nil)
	})
}

// variable returns a variable of the container's environment as its program finds it: of several the last one counts.
func variable(c *corev1.Container, name string) string {
	for _, e := range slices.Backward(c.Env) {
		switch {
		case e.Name != name:
		case e.ValueFrom != nil:
			return elsewhere
		default:
			return e.Value
		}
	}
	return ""
}

// proxies are the HTTP proxies that a container is told to use.
func proxies(c *corev1.Container) httpproxy.Config {
	either := func(upper, lower string) string {
		if v := variable(c, upper); v != "" {
			return v
		}
		return variable(c, lower)
	}
	return httpproxy.Config{
		HTTPProxy: either("HTTP_PROXY", "http_proxy"), HTTPSProxy: either("HTTPS_PROXY", "https_proxy"), NoProxy: either("NO_PROXY", "no_proxy"),
	}
}

// hasVolume tells whether the pod has a volume of that name.
func hasVolume(t *Target, name string) bool {
	return slices.ContainsFunc(t.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
}

// behind finds the Deployment behind the Service of a hook: in its namespace, and by its name where there are several. One
// that cannot be told from others is none.
func (s *Sources) behind(service string, its func(*Deployment) bool) (*Deployment, bool) {
	namespace, name, _ := strings.Cut(service, "/")
	var only *Deployment
	several := false
	for i := range s.Deployments {
		d := &s.Deployments[i]
		if namespace != "" && d.Namespace != namespace || !its(d) {
			continue
		}
		if d.Name == name {
			return d, true
		}
		only, several = d, only != nil
	}
	return only, only != nil && !several
}

// checkBoolean checks what strconv.ParseBool reads; the empty string is false.
func checkBoolean(value string) error {
	if _, err := strconv.ParseBool(value); err != nil && value != "" {
		return fmt.Errorf("%q: %w", value, errNotBoolean)
	}
	return nil
}
