package diagnose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Where Holdfast is without a word to the contrary.
const (
	defaultNamespace = "holdfast-system"
	defaultService   = "holdfast"
	defaultMetrics   = 8080
)

// locateTimeout bounds Locate: whoever cannot be asked about this will say so again in a probe.
const locateTimeout = 3 * time.Second

// Locate completes Own where it says nothing: with the Service that webhook configurations with our label call, else with the one
// in its namespace that bears the label, else with the shipped names. It is an error where several are meant: what is printed about
// one is not to be done to the other. Without a configuration no other namespace than the shipped one is taken for ours: anybody may
// label a Service.
func (s *Subject) Locate(ctx context.Context) (Own, error) {
	own := s.Own
	if own.Namespace != "" && own.Service != "" {
		return own, nil
	}
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	subject := *s
	subject.seen = newSeen(ctx)
	found := subject.called(ctx)
	if len(found) == 0 {
		found = subject.labelled(ctx)
	}
	switch {
	case len(found) > 1:
		return own, fmt.Errorf("there is more than one Holdfast: %s; name one with --namespace and --service-name", places(found))
	case len(found) == 1 && own.Namespace == "" && found[0].stray:
		return own, fmt.Errorf("no webhook configuration of Holdfast is there to go by, and its Service may be %s; name it with --namespace", places(found))
	case len(found) == 1:
		own = found[0].Own
	}
	if own.Namespace == "" {
		own.Namespace = defaultNamespace
	}
	if own.Service == "" {
		own.Service = defaultService
	}
	return own, nil
}

// candidate is where Holdfast may be; stray tells that nobody with a right over the whole cluster says so.
type candidate struct {
	Own
	stray bool
}

func places(found []candidate) string {
	var out []string
	for _, c := range found {
		out = append(out, c.Namespace+"/"+c.Service)
	}
	return list(out)
}

// called are the Services that configurations with our label call, and that fit what Own says.
func (s *Subject) called(ctx context.Context) []candidate {
	entries, err := s.Entries(ctx)
	if err != nil {
		return nil
	}
	var found []candidate
	for _, e := range entries {
		to := e.ClientConfig.Service
		if to == nil || e.Labels[nameLabel] != ourName || s.Own.Namespace != "" && to.Namespace != s.Own.Namespace || s.Own.Service != "" && to.Name != s.Own.Service {
			continue
		}
		if c := (candidate{Own: Own{Namespace: to.Namespace, Service: to.Name, Port: s.Own.Port}}); !slices.Contains(found, c) {
			found = append(found, c)
		}
	}
	if len(found) < 2 {
		return found
	}
	// One that calls what is not there has lost its way: it is no second Holdfast.
	there := slices.DeleteFunc(slices.Clone(found), func(c candidate) bool {
		service, err := s.Service(ctx, c.Namespace, c.Service)
		return err == nil && service == nil
	})
	if len(there) > 0 {
		return there
	}
	return found
}

// labelled are the Services that bear our label, in the shipped namespace where Own names none and one is there.
func (s *Subject) labelled(ctx context.Context) []candidate {
	services, err := s.Client.CoreV1().Services(s.Own.Namespace).List(ctx, metav1.ListOptions{LabelSelector: nameLabel + "=" + ourName})
	if err != nil {
		return nil
	}
	var found []candidate
	for i := range services.Items {
		o := &services.Items[i]
		serves := slices.ContainsFunc(o.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == 443 })
		if !serves || s.Own.Service != "" && o.Name != s.Own.Service {
			continue
		}
		c := candidate{Own: Own{Namespace: o.Namespace, Service: o.Name, Port: s.Own.Port}, stray: o.Namespace != defaultNamespace}
		if !c.stray && s.Own.Namespace == "" {
			return []candidate{c}
		}
		found = append(found, c)
	}
	return found
}

// errNoPods tells that there is nobody to ask.
var errNoPods = errors.New("no pod of Holdfast was found")

// serverPods returns the pods that run our server, ready ones first: those of the Deployment, whether the Service selects them
// or not.
func (s *Subject) serverPods(ctx context.Context) ([]corev1.Pod, error) {
	d, err := s.deployment(ctx)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return s.pods(ctx)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("read the selector of Deployment %s: %w", d.Name, err)
	}
	all, err := s.Pods(ctx, s.Own.Namespace)
	if err != nil {
		return nil, err
	}
	var ready, others []corev1.Pod
	for i := range all {
		switch p := &all[i]; {
		case !selector.Matches(labels.Set(p.Labels)) || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		case p.DeletionTimestamp == nil && notReady(p) == "":
			ready = append(ready, *p)
		default:
			others = append(others, *p)
		}
	}
	return append(ready, others...), nil
}

// ReportOfPods reads the report of one of our servers through the API server's proxy for pods.
func (s *Subject) ReportOfPods(ctx context.Context) (*Report, error) {
	subject := *s // what it reads is not to outlive the call
	subject.seen = newSeen(ctx)
	pods, err := subject.serverPods(ctx)
	if err != nil {
		return nil, err
	}
	last := errNoPods
	for i := range pods {
		port := int32(defaultMetrics)
		for _, c := range pods[i].Spec.Containers {
			for _, p := range c.Ports {
				if p.Name == "metrics" {
					port = p.ContainerPort
				}
			}
		}
		body, err := s.Client.CoreV1().Pods(s.Own.Namespace).ProxyGet("http", pods[i].Name, strconv.Itoa(int(port)), "/diagnosis", map[string]string{"fresh": ""}).DoRaw(ctx)
		if err = inItsWords(body, err); err != nil {
			last = fmt.Errorf("ask pod %s: %w", pods[i].Name, err)
			continue
		}
		r, err := DecodeReport(body)
		if err != nil {
			last = fmt.Errorf("ask pod %s: %w", pods[i].Name, err)
			continue
		}
		return r, nil
	}
	return nil, last
}
