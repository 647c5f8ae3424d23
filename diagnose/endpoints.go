package diagnose

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

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
			Fix:   "Look at the pods, and at what keeps them from being ready; compare their labels with the selector of the Service.",
		},
		Needs: []string{"HF210"},
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
	names := calledPorts(service)
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

// calledPorts are the names of the Service's ports that webhooks are called at: by custom 443, else all.
func calledPorts(service *corev1.Service) []string {
	var called, all []string
	if service != nil {
		for _, p := range service.Spec.Ports {
			all = append(all, p.Name)
			if p.Port == 443 {
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

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func unique(in []string) []string {
	slices.Sort(in)
	return slices.Compact(in)
}

// noEndpoints says why nothing stands behind the Service.
func (s *Subject) noEndpoints(ctx context.Context, waiting []string) Result {
	name := s.Own.Namespace + "/" + s.Own.Service
	look := "kubectl -n " + s.Own.Namespace + " get pods,endpointslices -o wide"
	pods, err := s.pods(ctx)
	if err != nil {
		return failed(look, "Service %s has no ready endpoint; why cannot be told: %v", name, err)
	}
	for i := range pods {
		if why := notReady(&pods[i]); why != "" {
			return failed("kubectl -n "+s.Own.Namespace+" describe pod "+pods[i].Name, "Service %s has no ready endpoint: pod %s %s", name, pods[i].Name, why)
		}
	}
	if len(waiting) > 0 || len(pods) > 0 {
		return failed(look, "Service %s has no ready endpoint, but %d that are not ready", name, max(len(waiting), len(pods)))
	}
	d, err := s.deployment(ctx)
	service, serviceErr := s.Service(ctx, s.Own.Namespace, s.Own.Service)
	switch {
	case err != nil || serviceErr != nil || d == nil:
	case !selected(service, d.Spec.Template.Labels):
		return failed("kubectl -n "+s.Own.Namespace+" edit service "+s.Own.Service,
			"Service %s selects pods with %s, those of Deployment %s have other labels", name, labels.FormatLabels(service.Spec.Selector), d.Name)
	case d.Spec.Replicas != nil && *d.Spec.Replicas == 0:
		return failed("kubectl -n "+s.Own.Namespace+" scale deploy/"+d.Name+" --replicas=2", "Service %s has no endpoint: Deployment %s is scaled to 0", name, d.Name)
	default:
		return failed("kubectl -n "+s.Own.Namespace+" get events --sort-by=.lastTimestamp", "Service %s has no endpoint: Deployment %s has no pods", name, d.Name)
	}
	return failed(look, "Service %s has no endpoint: no pod matches its selector", name)
}

// notReady says why a pod is not ready, "" where it is.
func notReady(pod *corev1.Pod) string {
	for i := range pod.Status.ContainerStatuses {
		c := &pod.Status.ContainerStatuses[i]
		if w := c.State.Waiting; w != nil {
			return fmt.Sprintf("waits: %s %s", w.Reason, w.Message)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "is not scheduled: " + c.Message
		}
		if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue {
			return "is not ready: " + c.Message
		}
	}
	return ""
}
