package diagnose

import (
	"context"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/report"
)

func service() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF210", Name: "service", Severity: report.Error,
			Title: "the Service is there and leads to the port of the server",
			Why:   "The API server calls a Service, which is missing, has no such port, or leads to another port of the pods than the one that the server listens on. Errors name the port of the Service (443), never the one that matters.",
			Fix:   "Apply the Service of the manifests again. Its targetPort has to be the server's --webhook-port, by number or by the name of the container's port.",
		},
		Needs: []string{"HF206"},
		ask: func(ctx context.Context, s *Subject) Result {
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			if byURL(entries) {
				return notApplicable("the webhooks are called by URL")
			}
			service, err := s.Service(ctx, s.Own.Namespace, s.Own.Service)
			switch {
			case err != nil:
				return cannot(err)
			case service == nil:
				return failed("Apply the manifests of Holdfast again; kubectl -n "+s.Own.Namespace+" get service "+s.Own.Service+" should then find it.",
					"Service %s/%s, which the webhook configurations name, does not exist", s.Own.Namespace, s.Own.Service)
			}
			led := ""
			for _, e := range entries {
				if e.ClientConfig.Service == nil {
					continue
				}
				to, wrong := s.leads(ctx, service, e)
				if wrong != nil {
					return *wrong
				}
				led = strconv.Itoa(int(e.Port())) + " to " + strconv.Itoa(to)
			}
			return passed("%s", led)
		},
	}
}

// leads follows the port that an entry calls to the pods.
func (s *Subject) leads(ctx context.Context, service *corev1.Service, e *Entry) (to int, wrong *Result) {
	at := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == e.Port() })
	name := s.Own.Namespace + "/" + s.Own.Service
	if at < 0 {
		r := failed("Give both the same port: kubectl -n "+s.Own.Namespace+" edit service "+s.Own.Service, "%s (%s) calls port %d, which Service %s does not have", e.Where(), e.Name, e.Port(), name)
		return 0, &r
	}
	ports, err := s.targets(ctx, &service.Spec.Ports[at])
	if err != nil {
		r := cannot(err)
		return 0, &r
	}
	ours := s.port(ctx)
	if !slices.Contains(ports, int32(ours)) { //nolint:gosec // a port
		led := "no port of the pods: none is called " + service.Spec.Ports[at].TargetPort.String()
		if len(ports) > 0 {
			led = "port " + strconv.Itoa(int(ports[0])) + " of the pods"
		}
		r := failed("kubectl -n "+s.Own.Namespace+" patch service "+s.Own.Service+` --type=json -p '[{"op":"replace","path":"/spec/ports/`+strconv.Itoa(at)+`/targetPort","value":`+strconv.Itoa(ours)+`}]'`,
			"port %d of Service %s leads to %s, the server listens on %d", e.Port(), name, led, ours)
		return 0, &r
	}
	return ours, nil
}

// targets returns the ports of the pods to which a port of our Service leads.
func (s *Subject) targets(ctx context.Context, port *corev1.ServicePort) ([]int32, error) {
	if n := target(port, nil); n != 0 {
		return []int32{n}, nil
	}
	var out []int32
	pods, err := s.pods(ctx)
	if err != nil {
		return nil, err
	}
	for i := range pods {
		if n := target(port, &pods[i].Spec); n != 0 && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	d, err := s.deployment(ctx)
	if err != nil || d == nil {
		return nil, err
	}
	if n := target(port, &d.Spec.Template.Spec); n != 0 {
		out = append(out, n)
	}
	return out, nil
}
