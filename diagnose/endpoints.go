package diagnose

import (
	"context"
	"net"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/report"
)

func endpoints() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF211", Name: "endpoints", Severity: report.Error,
			Title: "ready pods stand behind the Service",
			Why:   "The Service has no ready endpoint: no pod matches its selector, or none is ready. The API server says \"no endpoints available for service\", or that the connection was refused.",
			Fix:   "Scale the Deployment up, or mend what keeps its pods from being made, or from being ready; the selector of the Service has to be labels of theirs.",
		},
		Needs: []string{listenerCode, "HF210"},
		ask: func(ctx context.Context, s *Subject) Result {
			if l := s.needed["HF210"]; l != nil && l.State == NotApplicable {
				return notApplicable("the webhooks are called by URL")
			}
			ready, waiting, err := s.endpoints(ctx)
			if err != nil {
				return cannot(err)
			}
			if len(ready) == 0 {
				return s.noEndpoints(ctx, waiting)
			}
			return passed("%s", list(ready))
		},
	}
}

// endpoints returns the addresses behind our Service, HOST:PORT each, ready ones and others.
func (s *Subject) endpoints(ctx context.Context) (ready, waiting []string, err error) {
	slicesOf, err := s.EndpointSlices(ctx, s.Own.Namespace, s.Own.Service)
	if err != nil {
		return nil, nil, err
	}
	service, err := s.Service(ctx, s.Own.Namespace, s.Own.Service)
	if err != nil {
		return nil, nil, err
	}
	entries, _ := s.ourEntries(ctx) // without them nothing is called, and any port may do
	names := calledPorts(service, entries)
	for i := range slicesOf {
		for _, port := range slicesOf[i].Ports {
			if port.Port == nil || !slices.Contains(names, value(port.Name)) {
				continue
			}
			for k := range slicesOf[i].Endpoints {
				e := &slicesOf[i].Endpoints[k]
				for _, address := range e.Addresses {
					at := net.JoinHostPort(address, strconv.Itoa(int(*port.Port)))
					if isReady(e) {
						ready = append(ready, at)
					} else {
						waiting = append(waiting, at)
					}
				}
			}
		}
	}
	return unique(ready), unique(waiting), nil
}

// calledPorts are the names of the Service's ports that entries call; all, where it has none of those.
func calledPorts(service *corev1.Service, entries []*Entry) []string {
	var called, all []string
	if service != nil {
		for _, p := range service.Spec.Ports {
			all = append(all, p.Name)
			if slices.ContainsFunc(entries, func(e *Entry) bool { return e.ClientConfig.Service != nil && e.Port() == p.Port }) {
				called = append(called, p.Name)
			}
		}
	}
	if len(called) > 0 {
		return called
	}
	return all
}

// isReady reads a condition whose absence means that it holds.
func isReady(e *discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }

// noEndpoints says why nothing stands behind the Service.
func (s *Subject) noEndpoints(ctx context.Context, waiting []string) Result {
	name := s.Own.Namespace + "/" + s.Own.Service
	look := s.kubectl() + " get pods,endpointslices -o wide"
	pods, err := s.pods(ctx)
	if err != nil {
		return failed(steps("See how the pods are:", look), "Service %s has no ready endpoint; why cannot be told: %v", name, err)
	}
	for i := range pods {
		if why := notReady(&pods[i]); why != "" {
			return failed(s.unready(ctx, &pods[i]), "Service %s has no ready endpoint: pod %s %s", name, pods[i].Name, why)
		}
	}
	if len(waiting) > 0 || len(pods) > 0 {
		return failed(steps("New pods may do better, or say what is wrong:", s.restart(ctx), "If they do not:", look, s.logs()),
			"Service %s has no ready endpoint, but %d that are not ready", name, max(len(waiting), len(pods)))
	}
	return s.noPods(ctx, name, look)
}

// noPods says why our Service selects no pod.
func (s *Subject) noPods(ctx context.Context, name, look string) Result {
	d, err := s.deployment(ctx)
	service, unread := s.Service(ctx, s.Own.Namespace, s.Own.Service)
	switch {
	case err != nil || unread != nil:
		return failed(steps("See whether there are pods:", look), "Service %s has no endpoint: no pod matches its selector", name)
	case d == nil:
		return failed(steps("See what became of the Deployment:", s.kubectl()+" get deployments,pods --show-labels", s.kubectl()+" get events --sort-by=.lastTimestamp",
			"If it was deleted, apply the manifests again."),
			"Service %s has no endpoint: no pod matches its selector, and there is no Deployment whose pods would", name)
	case service != nil && !selected(service, d.Spec.Template.Labels):
		wear := d.Spec.Template.Labels
		if d.Spec.Selector != nil && len(d.Spec.Selector.MatchLabels) > 0 {
			wear = d.Spec.Selector.MatchLabels
		}
		return failed(steps("Have it select the pods of the Deployment:", s.kubectl()+" patch service "+s.Own.Service+" --type=json -p '"+encode([]op{{"replace", "/spec/selector", wear}})+"'", s.owned(service)),
			"Service %s selects pods with %s, those of Deployment %s have other labels: %s", name, labels.FormatLabels(service.Spec.Selector), d.Name, labels.FormatLabels(wear))
	case d.Spec.Replicas != nil && *d.Spec.Replicas == 0:
		return failed(steps("Scale it up, unless somebody has switched it off on purpose (2 are shipped):", s.kubectl()+" scale deploy/"+d.Name+" --replicas=2", s.owned(d)),
			"Service %s has no endpoint: Deployment %s is scaled to 0", name, d.Name)
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return failed(steps("Mend what the message names (a quota, a security standard, another webhook); the pods then come by themselves, at once with:", s.restart(ctx)),
				"Service %s has no endpoint: Deployment %s cannot make pods: %s", name, d.Name, c.Message)
		}
	}
	return failed(steps("The Events say what keeps them from being made; if nothing does, the controller manager stands still:",
		s.kubectl()+" get events --sort-by=.lastTimestamp", s.kubectl()+" describe replicasets"),
		"Service %s has no endpoint: Deployment %s has no pods", name, d.Name)
}
