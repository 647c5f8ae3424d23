package diagnose

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/report"
)

// byController is who makes EndpointSlices of a Service with a selector (k8s.io/kubernetes, pkg/controller/endpointslice at 1.36).
const byController = "endpointslice-controller.k8s.io"

// trouble is an endpoint of our Service that does not answer as the API server needs it to.
type trouble struct {
	at, what string // 10.0.0.1:9443, refuses the connection
	slice    *discoveryv1.EndpointSlice
	pod      *corev1.Pod // nil where none is known
	ours     bool        // our Deployment has made it
}

// silent is what is said of an endpoint that does not answer at all.
const silent = "gives no answer"

// muteWords is what is said of one that takes connections and nothing else.
const muteWords = "accepts connections and answers no request: "

// mute tells that whoever calls the endpoint has to wait until it gives up.
func (t *trouble) mute() bool { return t.what == silent || strings.HasPrefix(t.what, muteWords) }

// trace finds out who stands behind an endpoint, and who has put it there.
func (s *Subject) trace(ctx context.Context, t *trouble) {
	all, err := s.EndpointSlices(ctx, s.Own.Namespace, s.Own.Service)
	if err != nil {
		return
	}
	ref := ""
	for i := range all {
		for k := range all[i].Endpoints {
			e := &all[i].Endpoints[k]
			if !holds(&all[i], e, t.at) {
				continue
			}
			t.slice = &all[i]
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
				ref = e.TargetRef.Name
			}
		}
	}
	pods, err := s.Pods(ctx, s.Own.Namespace)
	if err != nil {
		return
	}
	host, _, _ := net.SplitHostPort(t.at)
	d, _ := s.deployment(ctx)
	for i := range pods {
		p := &pods[i]
		if p.Name == ref || ref == "" && slices.ContainsFunc(p.Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == host }) {
			t.pod, t.ours = p, d != nil && madeBy(p, d)
		}
	}
}

// holds tells whether an address is that of an endpoint in a slice.
func holds(slice *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint, at string) bool {
	for _, address := range e.Addresses {
		for _, port := range slice.Ports {
			if port.Port != nil && net.JoinHostPort(address, strconv.Itoa(int(*port.Port))) == at {
				return true
			}
		}
	}
	return false
}

// madeBy tells whether a Deployment has made a pod, by way of one of its ReplicaSets.
func madeBy(pod *corev1.Pod, d *appsv1.Deployment) bool {
	owner := metav1.GetControllerOf(pod)
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	return owner != nil && owner.Kind == "ReplicaSet" && strings.HasPrefix(owner.Name, d.Name+"-") && err == nil && selector.Matches(labels.Set(pod.Labels))
}

// byHand tells whether somebody else than Kubernetes keeps the slice.
func (t *trouble) byHand() bool {
	return t.slice != nil && t.slice.Labels[discoveryv1.LabelManagedBy] != byController
}

// who says what stands there.
func (t *trouble) who() string {
	switch {
	case t.byHand():
		by := t.slice.Labels[discoveryv1.LabelManagedBy]
		if by == "" {
			by = "hand"
		}
		return fmt.Sprintf(" (EndpointSlice %s, made by %s)", t.slice.Name, by)
	case t.ours:
		return " (pod " + t.pod.Name + ")"
	case t.pod != nil:
		return " (pod " + t.pod.Name + ", which is not Holdfast's)"
	case t.slice != nil:
		return " (EndpointSlice " + t.slice.Name + ")"
	}
	return ""
}

// clear is how such endpoints are got rid of.
func (s *Subject) clear(ctx context.Context, all []*trouble) string {
	if l := s.needed["HF212"]; l != nil && l.State == Warning && !slices.ContainsFunc(all, func(t *trouble) bool { return t.what != silent }) {
		return l.Fix // a policy keeps us out, too
	}
	var lines, pods, slicesOf []string
	for _, t := range all {
		switch {
		case t.byHand():
			if !slices.Contains(slicesOf, t.slice.Name) {
				slicesOf = append(slicesOf, t.slice.Name)
				lines = append(lines, "Take away EndpointSlice "+t.slice.Name+", which Kubernetes has not made (a copy stays in this directory):",
					s.aside("endpointslice", t.slice.Name)+" && "+s.kubectl()+" delete endpointslice "+t.slice.Name)
			}
		case t.ours:
			pods = append(pods, t.pod.Name)
		case t.pod != nil:
			lines = append(lines, s.estrange(ctx, t.pod))
		case t.slice != nil && !slices.Contains(slicesOf, t.slice.Name):
			slicesOf = append(slicesOf, t.slice.Name)
			lines = append(lines, "No pod is there; have Kubernetes write the list of endpoints again (a copy stays in this directory):",
				s.aside("endpointslice", t.slice.Name)+" && "+s.kubectl()+" delete endpointslice "+t.slice.Name)
		}
	}
	if len(pods) > 0 {
		lines = append(lines, "Have the Deployment make another pod; what this one has said stays in this directory:")
		if len(pods) > 1 {
			lines[len(lines)-1] = "Have the Deployment make other pods; what these have said stays in this directory:"
		}
		for _, pod := range pods {
			lines = append(lines, s.kubectl()+" logs "+pod+" > "+pod+".log")
		}
		lines = append(lines, s.kubectl()+" delete pod "+strings.Join(pods, " "), "If the next is the same, its log says why:", s.logs())
	}
	if len(lines) == 0 {
		lines = []string{"Look for the address:", "kubectl get pods -A -o wide", s.kubectl() + " get endpointslices -o yaml"}
	}
	return steps(lines...)
}

// estrange has our Service select a pod no more that is not ours.
func (s *Subject) estrange(ctx context.Context, pod *corev1.Pod) string {
	service, err := s.Service(ctx, s.Own.Namespace, s.Own.Service)
	if err != nil || service == nil || len(service.Spec.Selector) == 0 {
		return ""
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		key := sortedKeys(service.Spec.Selector)[0]
		return steps("Take the label from pod "+pod.Name+" by which the Service selects it:", s.kubectl()+" label pod "+pod.Name+" "+key+"-")
	}
	whose := report.Word(strings.ToLower(owner.Kind) + "/" + owner.Name) // nobody has checked it
	if d, err := s.deployment(ctx); err == nil && d != nil {
		for _, key := range sortedKeys(d.Spec.Template.Labels) {
			value := d.Spec.Template.Labels[key]
			if pod.Labels[key] == value {
				continue
			}
			return steps("Have the Service select the pods of Deployment "+d.Name+" alone, by a label that those of "+whose+" lack:",
				s.kubectl()+" patch service "+s.Own.Service+" --type=json -p '"+encode([]op{{"add", "/spec/selector/" + pointer(key), value}})+"'",
				s.owned(service))
		}
	}
	return steps("Its owner makes pods with the labels of Holdfast; give them others there:", s.kubectl()+" get "+whose+" -o yaml")
}
