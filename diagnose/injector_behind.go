package diagnose

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// callee is what an entry calls: a port of a Service, or a URL.
type callee struct {
	namespace, name string
	port            int32
	url             string
}

func (e *Entry) callee() callee {
	if service := e.ClientConfig.Service; service != nil {
		return callee{namespace: service.Namespace, name: service.Name, port: e.Port()}
	}
	return callee{url: value(e.ClientConfig.URL)}
}

func (c callee) String() string {
	if c.url != "" {
		return c.url
	}
	return "Service " + c.namespace + "/" + c.name
}

// address is where a URL leads, HOST:PORT.
func (c callee) address() string {
	u, err := url.Parse(c.url)
	if err != nil {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// backing is what stands behind a Service that is called.
type backing struct {
	service    *corev1.Service
	port       *corev1.ServicePort // nil where the Service has no such port
	deployment *appsv1.Deployment  // nil where none makes pods for the Service, or none can be read
	// targets are the ports of the pods; ready and waiting the endpoints, HOST:PORT each.
	targets        []int32
	ready, waiting []string
	unread         error // why endpoints are not known
	unlisted       error // why the Deployment is not known
}

// behind follows what is called to its pods. It is never nil; the Service is, where there is none, and behind a URL, which nobody can
// follow.
func (s *Subject) behind(ctx context.Context, c callee) (*backing, error) {
	if c.url != "" {
		return &backing{}, nil
	}
	service, err := s.Service(ctx, c.namespace, c.name)
	if err != nil || service == nil {
		return &backing{}, err
	}
	b := &backing{service: service}
	if at := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == c.port }); at >= 0 {
		b.port = &service.Spec.Ports[at]
	}
	deployments, err := s.Deployments(ctx, c.namespace)
	b.unlisted = err
	for i := range deployments {
		if selected(service, deployments[i].Spec.Template.Labels) {
			b.deployment = &deployments[i]
		}
	}
	b.unread = s.endpointsBehind(ctx, c, b)
	if len(b.targets) == 0 && b.port != nil {
		var spec *corev1.PodSpec
		if b.deployment != nil {
			spec = &b.deployment.Spec.Template.Spec
		}
		if n := target(b.port, spec); n != 0 {
			b.targets = append(b.targets, n)
		}
	}
	return b, nil
}

func (s *Subject) endpointsBehind(ctx context.Context, c callee, b *backing) error {
	parts, err := s.EndpointSlices(ctx, c.namespace, c.name)
	if err != nil {
		return err
	}
	for i := range parts {
		for _, p := range parts[i].Ports {
			if p.Port == nil || b.port == nil || value(p.Name) != b.port.Name {
				continue
			}
			for k := range parts[i].Endpoints {
				e := &parts[i].Endpoints[k]
				if !slices.Contains(b.targets, *p.Port) {
					b.targets = append(b.targets, *p.Port)
				}
				for _, address := range e.Addresses {
					at := net.JoinHostPort(address, strconv.Itoa(int(*p.Port)))
					if isReady(e) {
						b.ready = append(b.ready, at)
					} else {
						b.waiting = append(b.waiting, at)
					}
				}
			}
		}
	}
	b.ready, b.waiting = unique(b.ready), unique(b.waiting)
	return nil
}
