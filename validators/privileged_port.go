package validators

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// unprivilegedStart is the first port that a process without privileges can listen on; 1024 where nobody sets it.
const unprivilegedStart = "net.ipv4.ip_unprivileged_port_start"

// privilegedPort finds gateways that listen on ports which are root's.
func privilegedPort() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF123", Name: "privileged-port", Severity: report.Warning,
			Title: "A gateway's proxy that may not listen on its port",
			Why: "Ports below 1024 are root's, unless the container may bind them (NET_BIND_SERVICE, which a process of another user has only where its program " +
				"carries it) or the pod's first unprivileged port is lower. Some container runtimes lower it by themselves, others do not (containerd before 2.0): there the " +
				"proxy says \"cannot bind ... Permission denied\", and the gateway never listens.",
			Fix: "Let the proxy listen on a port from 1024 up, with the low one as the Service's port; or set the sysctl net.ipv4.ip_unprivileged_port_start to 0 on the pod.",
		},
		check: func(i *inspection) {
			for _, list := range [...][]injectors.Step{i.plan.Inits, i.plan.Mains} {
				for k := range list {
					if s := &list[k]; s.Role == injectors.Proxy || s.Role == injectors.Own && s.Phase != injectors.Init {
						i.privileged(s)
					}
				}
			}
		},
	}
}

func (i *inspection) privileged(s *injectors.Step) {
	c := i.plan.Container(s)
	if c == nil || s.UID <= 0 || mayBind(c.SecurityContext) {
		return
	}
	first := i.firstPort()
	for _, p := range c.Ports {
		if p.ContainerPort > 0 && p.ContainerPort < first && (s.Role == injectors.Proxy || i.gateway(c)) {
			fix := "Use a port from 1024 up, or securityContext.sysctls: [{name: " + unprivilegedStart + `, value: "0"}]`
			if i.target.Spec.HostNetwork { // whose sysctls are the node's
				fix = "Use a port from 1024 up."
			}
			i.find(s, i.at(s)+" binds port "+strconv.Itoa(int(p.ContainerPort))+" as uid "+strconv.FormatInt(s.UID, 10)+
				", but ports below "+strconv.Itoa(int(first))+" are root's unless the node lets it.", fix)
			return
		}
	}
}

// gateway tells whether a container of the user's is a mesh's proxy.
func (i *inspection) gateway(c *corev1.Container) bool {
	return slices.ContainsFunc(i.plan.Env.Catalogue.All, func(j *injectors.Injector) bool { return j.Gateway != nil && j.Gateway(c) })
}

// mayBind tells whether the container may have what it takes to bind any port; the image has a say in it.
func mayBind(sc *corev1.SecurityContext) bool {
	if sc == nil {
		return false
	}
	if sc.Privileged != nil && *sc.Privileged {
		return true
	}
	return sc.Capabilities != nil && slices.ContainsFunc(sc.Capabilities.Add, func(c corev1.Capability) bool {
		return c == "NET_BIND_SERVICE" || c == "CAP_NET_BIND_SERVICE" || c == "ALL"
	})
}

// firstPort is the first one that is nobody's privilege in the pod.
func (i *inspection) firstPort() int32 {
	if sc := i.target.Spec.SecurityContext; sc != nil {
		for _, s := range sc.Sysctls {
			if s.Name != unprivilegedStart {
				continue
			}
			if first, err := strconv.ParseInt(s.Value, 10, 32); err == nil {
				return int32(first)
			}
		}
	}
	return 1024
}
