package injectors

import "strings"

// Flags of the connect injector (control-plane/subcommand/inject-connect/command.go; the native sidecar's came with
// consul-k8s#4678). The chart writes them into one shell command.
const (
	consulFlagInject      = "default-inject"
	consulFlagTransparent = "default-enable-transparent-proxy"
	consulFlagCNI         = "enable-cni"
	consulFlagNative      = "default-enable-consul-dataplane-as-sidecar"
	consulFlagLifecycle   = "default-enable-sidecar-proxy-lifecycle"
	consulFlagOpenShift   = "enable-openshift"
	consulFlagAllow       = "allow-k8s-namespace"
	consulFlagDeny        = "deny-k8s-namespace"
)

// readConsul takes the flags of the Deployment behind a webhook's Service, which bears the same name. There are no mesh-wide
// lists, and nothing holds the app.
func readConsul(src *Sources, service string) *Settings {
	s := &Settings{Missing: src.Missing, Lists: true, Hold: No}
	d, ok := consulDeployment(src, service)
	if !ok {
		s.missing("no Deployment labelled component=connect-injector")
		return s
	}
	flag := func(name string, otherwise bool) Tri { return TriOf(truthy(d.Flags[name], otherwise)) }
	s.CNI, s.Native, s.Inject = flag(consulFlagCNI, false), flag(consulFlagNative, false), flag(consulFlagInject, true)
	s.Off = No
	if flag(consulFlagTransparent, true) == No {
		s.Off = Yes
	}
	// No namespace is allowed that is not listed.
	s.Metadata = map[string]string{consulFlagAllow: d.Flags[consulFlagAllow]}
	for _, name := range [...]string{consulFlagDeny, consulFlagLifecycle, consulFlagOpenShift} {
		if value, ok := d.Flags[name]; ok {
			s.Metadata[name] = value
		}
	}
	return s
}

func consulDeployment(src *Sources, service string) (*Deployment, bool) {
	namespace, name, _ := strings.Cut(service, "/")
	for i := range src.Deployments {
		if d := &src.Deployments[i]; d.Namespace == namespace && d.Name == name && d.Labels["component"] == "connect-injector" {
			return d, true
		}
	}
	return nil, false
}
