package injectors

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ServicePort is one port of a Service.
type ServicePort struct {
	Port uint16
	// Target is the port of the pods, and TargetName its name where it is given by name; neither where it is the Service's own.
	Target     uint16
	TargetName string
	// Protocol is what is declared of it, appProtocol or else the port's name; "" where nothing is.
	Protocol string
}

// ServicePorts returns the TCP ports of a Service, reduced.
func ServicePorts(ports []corev1.ServicePort) []ServicePort {
	var out []ServicePort
	for i := range ports {
		p := &ports[i]
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			continue
		}
		r := ServicePort{Port: portOf(p.Port), Target: portOf(p.TargetPort.IntVal), TargetName: p.TargetPort.StrVal, Protocol: p.Name}
		if p.AppProtocol != nil {
			r.Protocol = *p.AppProtocol
		}
		out = append(out, r)
	}
	return out
}

// portOf returns the port of that number, 0 where none has it.
func portOf(n int32) uint16 {
	if n < 0 || n >= 1<<16 {
		return 0
	}
	return uint16(n)
}

// Declared tells that whoever made the Service said that the port carries a stream into which no proxy looks: by appProtocol,
// or by a name that begins with the protocol (istio, pkg/config/protocol/instance.go at 1.31; linkerd2, appProtocol since 2.18).
func (p *ServicePort) Declared() bool {
	protocol := p.Protocol
	if _, name, ok := strings.Cut(protocol, "/"); ok { // linkerd.io/opaque
		protocol = name
	}
	protocol, _, _ = strings.Cut(protocol, "-")
	switch strings.ToLower(protocol) {
	case "tcp", "tls", "https", "mysql", "mongo", "redis", "opaque":
		return true
	}
	return false
}

// selects tells whether the Service sends connections to pods with these labels. Without a selector somebody else says where
// they go.
func (s *Service) selects(labels map[string]string) bool {
	for key, value := range s.Selector {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return len(s.Selector) > 0
}

// on returns the port of the pod that connections to a port of the Service arrive at; 0 where the pod has none of that name.
func (p *ServicePort) on(spec *corev1.PodSpec) uint16 {
	switch {
	case p.Target != 0:
		return p.Target
	case p.TargetName == "":
		return p.Port
	}
	for _, list := range [...][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range list {
			for _, port := range list[i].Ports {
				if port.Name == p.TargetName {
					return portOf(port.ContainerPort)
				}
			}
		}
	}
	return 0
}

// WebhookService is the Service behind a registered admission webhook.
type WebhookService struct {
	Configuration string // ValidatingWebhookConfiguration/cert-manager-webhook
	Service       string // its name
	Port          uint16
}

// Served is a webhook that the pod answers for: the API server connects to this port of the pod.
type Served struct {
	Webhook *WebhookService
	Port    uint16
}

// Served returns the webhooks that the pod answers for, each port once; none for nearly every pod.
func (p *Plan) Served() []Served {
	if p.Env.Webhooks == nil || p.Env.Services == nil {
		return nil
	}
	var out []Served
	webhooks := p.Env.Webhooks(p.Target.Namespace.Name)
	for i := range webhooks {
		w := &webhooks[i]
		s, ok := p.Env.Services(p.Target.Namespace.Name, w.Service)
		if !ok || !s.selects(p.Target.Meta.Labels) {
			continue
		}
		for k := range s.Ports {
			if s.Ports[k].Port != w.Port {
				continue
			}
			port := s.Ports[k].on(p.Target.Spec)
			if port != 0 && !slices.ContainsFunc(out, func(o Served) bool { return o.Port == port }) {
				out = append(out, Served{Webhook: w, Port: port})
			}
		}
	}
	return out
}

// Declares tells whether a Service that sends connections to the port of the pod declares what it carries
// (ServicePort.Declared); Unknown where no such Service is known.
func (p *Plan) Declares(port uint16) Tri {
	if p.Env.ServicesIn == nil {
		return Unknown
	}
	answer := Unknown
	for s := range p.Env.ServicesIn(p.Target.Namespace.Name) {
		if !s.selects(p.Target.Meta.Labels) {
			continue
		}
		for k := range s.Ports {
			switch {
			case s.Ports[k].on(p.Target.Spec) != port:
			case s.Ports[k].Declared():
				return Yes
			default:
				answer = No
			}
		}
	}
	return answer
}

// DeclaresThere tells the same of the Service behind a destination.
func (p *Plan) DeclaresThere(to Endpoint) Tri {
	s, ok := p.Env.service(to.Host, p.Target.Namespace.Name)
	if !ok {
		return Unknown
	}
	at := slices.IndexFunc(s.Ports, func(sp ServicePort) bool { return sp.Port == to.Port })
	if at < 0 {
		return Unknown
	}
	return TriOf(s.Ports[at].Declared())
}
