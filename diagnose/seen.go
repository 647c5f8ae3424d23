package diagnose

import (
	"context"
	"fmt"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// seen holds what several probes read: each object is read once a run.
type seen struct {
	life       context.Context //nolint:containedctx // of the run: who asks first may give up before the others
	mutating   memo[[]*admissionregistrationv1.MutatingWebhookConfiguration]
	validating memo[[]*admissionregistrationv1.ValidatingWebhookConfiguration]
	entries    memo[[]*Entry]
	namespaces memo[[]corev1.Namespace]
	server     memo[*Report]
	// certManagers are the Deployments of cert-manager, in whatever namespace.
	certManagers memo[[]appsv1.Deployment]

	mu          sync.Mutex
	services    map[string]*memo[*corev1.Service]
	slices      map[string]*memo[[]discoveryv1.EndpointSlice]
	pods        map[string]*memo[[]corev1.Pod]
	deployments map[string]*memo[[]appsv1.Deployment]
}

func newSeen(life context.Context) *seen {
	return &seen{
		life: life, services: map[string]*memo[*corev1.Service]{}, slices: map[string]*memo[[]discoveryv1.EndpointSlice]{},
		pods: map[string]*memo[[]corev1.Pod]{}, deployments: map[string]*memo[[]appsv1.Deployment]{},
	}
}

// memo is something that is read once, by whoever asks first.
type memo[T any] struct {
	once  sync.Once
	done  chan struct{}
	value T
	err   error
}

// get waits for the value no longer than its own context lasts; reading goes on for the others.
func (m *memo[T]) get(ctx, life context.Context, read func(context.Context) (T, error)) (T, error) {
	m.once.Do(func() {
		m.done = make(chan struct{})
		go func() {
			defer close(m.done)
			defer func() {
				if fault := recover(); fault != nil {
					m.err = fmt.Errorf("what reads this broke: %T", fault)
				}
			}()
			m.value, m.err = read(life)
		}()
	})
	select {
	case <-m.done:
		return m.value, m.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// entry returns the memo of a key.
func entry[T any](s *seen, of map[string]*memo[T], key string) *memo[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of[key] == nil {
		of[key] = &memo[T]{}
	}
	return of[key]
}

// Mutating returns the mutating webhook configurations.
func (s *Subject) Mutating(ctx context.Context) ([]*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	return s.seen.mutating.get(ctx, s.seen.life, func(ctx context.Context) ([]*admissionregistrationv1.MutatingWebhookConfiguration, error) {
		l, err := s.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list mutatingwebhookconfigurations: %w", err)
		}
		return pointers(l.Items), nil
	})
}

// Validating returns the validating webhook configurations.
func (s *Subject) Validating(ctx context.Context) ([]*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	return s.seen.validating.get(ctx, s.seen.life, func(ctx context.Context) ([]*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
		l, err := s.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list validatingwebhookconfigurations: %w", err)
		}
		return pointers(l.Items), nil
	})
}

// Namespaces returns the namespaces of the cluster.
func (s *Subject) Namespaces(ctx context.Context) ([]corev1.Namespace, error) {
	return s.seen.namespaces.get(ctx, s.seen.life, func(ctx context.Context) ([]corev1.Namespace, error) {
		l, err := s.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list namespaces: %w", err)
		}
		return l.Items, nil
	})
}

// Service returns a Service, nil where there is none. It is listed by name: the server's right is to list.
func (s *Subject) Service(ctx context.Context, namespace, name string) (*corev1.Service, error) {
	return entry(s.seen, s.seen.services, namespace+"/"+name).get(ctx, s.seen.life, func(ctx context.Context) (*corev1.Service, error) {
		l, err := s.Client.CoreV1().Services(namespace).List(ctx, byName(name))
		if err != nil {
			return nil, fmt.Errorf("list services in %s: %w", namespace, err)
		}
		for i := range l.Items {
			if l.Items[i].Name == name {
				return &l.Items[i], nil
			}
		}
		return nil, nil
	})
}

// EndpointSlices returns what stands behind a Service.
func (s *Subject) EndpointSlices(ctx context.Context, namespace, service string) ([]discoveryv1.EndpointSlice, error) {
	return entry(s.seen, s.seen.slices, namespace+"/"+service).get(ctx, s.seen.life, func(ctx context.Context) ([]discoveryv1.EndpointSlice, error) {
		l, err := s.Client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
		if err != nil {
			return nil, fmt.Errorf("list endpointslices in %s: %w", namespace, err)
		}
		return l.Items, nil
	})
}

// Pods returns the pods of a namespace.
func (s *Subject) Pods(ctx context.Context, namespace string) ([]corev1.Pod, error) {
	return entry(s.seen, s.seen.pods, namespace).get(ctx, s.seen.life, func(ctx context.Context) ([]corev1.Pod, error) {
		l, err := s.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list pods in %s: %w", namespace, err)
		}
		return l.Items, nil
	})
}

// Deployments returns the Deployments of a namespace.
func (s *Subject) Deployments(ctx context.Context, namespace string) ([]appsv1.Deployment, error) {
	return entry(s.seen, s.seen.deployments, namespace).get(ctx, s.seen.life, func(ctx context.Context) ([]appsv1.Deployment, error) {
		l, err := s.Client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list deployments in %s: %w", namespace, err)
		}
		return l.Items, nil
	})
}

func byName(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "metadata.name=" + name}
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}

// RightMissing begins the message where whoever asks may not.
const RightMissing = "a right is missing"

// cannot is the answer where something could not be read.
func cannot(err error) Result {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		r := unknown("Ask as somebody who has it: --kubeconfig of an administrator, or from inside a pod of Holdfast.", RightMissing+": %v", err)
		r.denied = true
		return r
	}
	return unknown("", "%v", err)
}
