package diagnose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// Locate completes Own where it says nothing: with the Service that webhook configurations with our label call, else with the
// Service that bears it, else with the shipped names.
func (s *Subject) Locate(ctx context.Context) Own {
	own := s.Own
	if own.Namespace == "" || own.Service == "" {
		ctx, cancel := context.WithTimeout(ctx, locateTimeout)
		defer cancel()
		subject := *s
		subject.seen = newSeen(ctx)
		namespace, service := subject.find(ctx)
		if own.Namespace == "" {
			own.Namespace = namespace
		}
		if own.Service == "" {
			own.Service = service
		}
	}
	if own.Namespace == "" {
		own.Namespace = defaultNamespace
	}
	if own.Service == "" {
		own.Service = defaultService
	}
	return own
}

func (s *Subject) find(ctx context.Context) (namespace, service string) {
	entries, err := s.Entries(ctx)
	if err == nil {
		for _, e := range entries {
			if to := e.ClientConfig.Service; to != nil && e.Labels[nameLabel] == ourName && (s.Own.Namespace == "" || to.Namespace == s.Own.Namespace) {
				return to.Namespace, to.Name
			}
		}
	}
	services, err := s.Client.CoreV1().Services(s.Own.Namespace).List(ctx, metav1.ListOptions{LabelSelector: nameLabel + "=" + ourName})
	if err == nil && len(services.Items) > 0 {
		return services.Items[0].Namespace, services.Items[0].Name
	}
	return "", ""
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
		var r Report
		if err := json.Unmarshal(body, &r); err != nil {
			last = fmt.Errorf("decode the report of pod %s: %w", pods[i].Name, err)
			continue
		}
		return &r, nil
	}
	return nil, last
}
