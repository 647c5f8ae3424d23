package injectors

import (
	"slices"
	"strconv"
	"strings"
)

// nameLabel is where charts write what an object is part of.
const nameLabel = "app.kubernetes.io/name"

// read takes what the injector's Deployment says in its environment.
func (v vault) read(src *Sources, service string) *Settings {
	s := &Settings{Missing: src.Missing}
	d, ok := v.deployment(src, service)
	if !ok {
		s.missing("no Deployment labelled %s=%s", nameLabel, v.deployments[0])
		return s
	}
	for _, name := range v.addressEnv {
		if s.Address == "" {
			s.Address = d.expanded(name)
		}
	}
	s.Proxy = d.expanded("AGENT_INJECT_PROXY_ADDR")
	s.UID, _ = strconv.ParseInt(d.Env["AGENT_INJECT_RUN_AS_USER"], 10, 64)
	s.GID, _ = strconv.ParseInt(d.Env["AGENT_INJECT_RUN_AS_GROUP"], 10, 64)
	s.SameUser, _ = strconv.ParseBool(d.Env["AGENT_INJECT_RUN_AS_SAME_USER"])
	if set, err := strconv.ParseBool(d.Env["AGENT_INJECT_SET_SECURITY_CONTEXT"]); err == nil {
		s.NoContext = !set
	}
	for _, image := range d.Images {
		if strings.Contains(image, vaultImage) || strings.Contains(image, openBaoImage) {
			s.Image = image
		}
	}
	return s
}

// deployment finds the Deployment behind the Service of a hook: in its namespace, and by its name where there are several
// (the chart names them NAME and NAME-svc). One that cannot be told from others is none.
func (v vault) deployment(src *Sources, service string) (*Deployment, bool) {
	namespace, name, _ := strings.Cut(service, "/")
	name = strings.TrimSuffix(name, "-svc")
	var only *Deployment
	several := false
	for i := range src.Deployments {
		d := &src.Deployments[i]
		if namespace != "" && d.Namespace != namespace || !slices.Contains(v.deployments, d.Labels[nameLabel]) {
			continue
		}
		if d.Name == name {
			return d, true
		}
		only, several = d, only != nil
	}
	return only, only != nil && !several
}

// expanded returns a variable of the environment with references to others in it, as the kubelet expands them. The one that
// the manifests use is $(NAMESPACE), which is the Deployment's own.
func (d *Deployment) expanded(name string) string {
	value := d.Env[name]
	if !strings.Contains(value, "$(") {
		return value
	}
	namespace := d.Env["NAMESPACE"]
	if namespace == "" {
		namespace = d.Namespace
	}
	return strings.ReplaceAll(value, "$(NAMESPACE)", namespace)
}
