package diagnose

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"holdfast.dev/holdfast/report"
)

func service() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF210", Name: "service", Severity: report.Error,
			Title: "the Service is there and leads to the port of the server",
			Why:   "The API server calls a Service, which is missing, has no such port, or leads to another port of the pods than the one that the server listens on. Errors name the port of the Service (443), never the one that matters.",
			Fix:   "Have the entries call a port that the Service has, and that leads to the server's. Its targetPort has to be the server's --webhook-port, by number or by the name of the container's port.",
		},
		Needs: []string{apiServerCode}, After: []string{"HF206"}, // one configuration is enough to ask
		ask: func(ctx context.Context, s *Subject) Result {
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			if len(entries) == 0 {
				return skipped("HF206")
			}
			if byURL(entries) {
				return notApplicable("the webhooks are called by URL")
			}
			service, err := s.Service(ctx, s.Own.Namespace, s.Own.Service)
			switch {
			case err != nil:
				return cannot(err)
			case service == nil:
				return failed(s.serviceAgain(ctx, entries), "Service %s/%s, which the webhook configurations name, does not exist", s.Own.Namespace, s.Own.Service)
			}
			return s.leads(ctx, service, slices.DeleteFunc(entries, func(e *Entry) bool { return e.ClientConfig.Service == nil }))
		},
	}
}

// serviceAgain makes the Service that is missing, as it is shipped.
func (s *Subject) serviceAgain(ctx context.Context, entries []*Entry) string {
	selector := map[string]string{nameLabel: ourName, componentLabel: "webhook"}
	target := intstr.FromInt(s.port(ctx))
	var keeper *keeper
	if d, err := s.deployment(ctx); err == nil && d != nil {
		keeper = keeperOf(d.Labels, d.Annotations)
		if d.Spec.Selector != nil && len(d.Spec.Selector.MatchLabels) > 0 {
			selector = d.Spec.Selector.MatchLabels
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			for _, p := range c.Ports {
				if int(p.ContainerPort) == target.IntValue() && p.Name != "" {
					target = intstr.FromString(p.Name)
				}
			}
		}
	}
	var ports []map[string]any
	for _, e := range entries {
		if e.ClientConfig.Service == nil || slices.ContainsFunc(ports, func(p map[string]any) bool { return p["port"] == e.Port() }) {
			continue
		}
		name := "https"
		if len(ports) > 0 {
			name += "-" + strconv.Itoa(int(e.Port()))
		}
		ports = append(ports, map[string]any{"name": name, "port": e.Port(), "targetPort": target})
	}
	again := create(map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": s.Own.Service, "namespace": s.Own.Namespace, "labels": map[string]string{nameLabel: ourName}},
		"spec":     map[string]any{"selector": selector, "ports": ports},
	})
	if keeper == nil {
		return steps("Make it again, as it is shipped:", again)
	}
	return steps("Make it again, as it is shipped:", again, "Or have "+keeper.who+" do so:", keeper.again)
}

// leads follows the ports that entries call to the pods.
func (s *Subject) leads(ctx context.Context, service *corev1.Service, entries []*Entry) Result {
	name, ours := s.Own.Namespace+"/"+s.Own.Service, s.port(ctx)
	var has []string
	right := -1 // the port of the Service that leads to ours
	to := map[int32][]int32{}
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		ports, err := s.targets(ctx, p)
		if err != nil {
			return cannot(err)
		}
		to[p.Port] = ports
		has = append(has, fmt.Sprintf("%d to %s", p.Port, leadsTo(p, ports)))
		if right < 0 && slices.Contains(ports, int32(ours)) { //nolint:gosec // a port
			right = i
		}
	}
	lost := slices.DeleteFunc(slices.Clone(entries), func(e *Entry) bool { _, ok := to[e.Port()]; return ok })
	if len(lost) > 0 {
		e := lost[0]
		lead, fix, keeper := "Give the Service the port that is called:", s.addPort(service, e.Port(), ours), s.owned(service)
		if right >= 0 {
			lead = "Have them call the port that the Service has:"
			fix, keeper = patchEntries(lost, op{"add", "/clientConfig/service/port", service.Spec.Ports[right].Port}), s.owned(e.object())
		}
		return failed(steps(lead, fix, keeper), "%s (%s) calls port %d, which Service %s does not have: it has %s%s",
			e.Where(), e.Name, e.Port(), name, list(has), besides(len(lost), "entry", "entries")).meaning(effectOf(lost))
	}
	for _, e := range entries {
		if slices.Contains(to[e.Port()], int32(ours)) { //nolint:gosec // a port
			continue
		}
		at := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == e.Port() })
		p, place := &service.Spec.Ports[at], "/spec/ports/"+strconv.Itoa(at)
		led := "port " + leadsTo(p, to[p.Port]) + " of the pods"
		if len(to[p.Port]) == 0 {
			led = "no port of the pods: none is called " + p.TargetPort.String()
		}
		bad := slices.DeleteFunc(slices.Clone(entries), func(o *Entry) bool { return o.Port() != p.Port })
		return failed(steps("Lead it to the port of the server:", s.kubectl()+" patch service "+s.Own.Service+" --type=json -p '"+encode([]op{{"test", place + "/port", p.Port}, {"replace", place + "/targetPort", ours}})+"'",
			s.owned(service)),
			"port %d of Service %s leads to %s, the server listens on %d", p.Port, name, led, ours).meaning(effectOf(bad))
	}
	return passed("%s", list(unique(has)))
}

// leadsTo says to which ports of the pods a port of a Service leads.
func leadsTo(p *corev1.ServicePort, ports []int32) string {
	if len(ports) == 0 {
		return p.TargetPort.String()
	}
	return strconv.Itoa(int(ports[0]))
}

// addPort gives our Service a port that leads to the server.
func (s *Subject) addPort(service *corev1.Service, port int32, target int) string {
	return s.kubectl() + " patch service " + s.Own.Service + " --type=json -p '" + encode(withPort(service, "https", port, target)) + "'"
}

// withPort adds a port to a Service, called by a word and its number.
func withPort(service *corev1.Service, word string, port int32, target int) []op {
	name := word + "-" + strconv.Itoa(int(port))
	ops := []op{{"add", "/spec/ports/-", map[string]any{"name": name, "port": port, "targetPort": target}}}
	for i := range service.Spec.Ports { // of several, each needs a name
		if service.Spec.Ports[i].Name == "" {
			ops = append(ops, op{"add", "/spec/ports/" + strconv.Itoa(i) + "/name", "port-" + strconv.Itoa(int(service.Spec.Ports[i].Port))})
		}
	}
	return ops
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
