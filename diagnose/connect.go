package diagnose

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// mostRead bounds a page of the API server, such as its metrics.
const mostRead = 64 << 20

// Connect returns a subject that asks the API server of a client configuration. Nothing is dialled yet.
func Connect(config *rest.Config, own Own, now func() time.Time) (*Subject, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 50, 100 // a run asks a few dozen questions at once
	config.WarningHandlerWithContext = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &Subject{
		Client: client, Dynamic: objects, Own: own, Now: now, Calls: &Calls{},
		Raw: func(ctx context.Context, path string) ([]byte, error) {
			stream, err := client.Discovery().RESTClient().Get().AbsPath(path).Stream(ctx)
			if err != nil {
				return nil, err
			}
			defer stream.Close()
			return io.ReadAll(io.LimitReader(stream, mostRead))
		},
		Try: func(ctx context.Context, m *corev1.ConfigMap) (*corev1.ConfigMap, []string, error) {
			return try(config, func(c kubernetes.Interface) (*corev1.ConfigMap, error) {
				return c.CoreV1().ConfigMaps(m.Namespace).Create(ctx, m, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			})
		},
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
	}, nil
}

// inItsWords puts the API server's own words, where the body has them, in the place of those that the client has for the code.
func inItsWords(body []byte, err error) error {
	var status metav1.Status
	if err == nil || json.Unmarshal(body, &status) != nil || status.Message == "" {
		return err
	}
	return &apierrors.StatusError{ErrStatus: status}
}

// MayCreatePods tells whether whoever asks has the right to create pods everywhere. A pod's ServiceAccount seldom has it, and is
// not to be asked what only people can do.
func (s *Subject) MayCreatePods(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	answer, err := s.Client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods"}},
	}, metav1.CreateOptions{})
	return err == nil && answer.Status.Allowed
}

// AsCaller lets the probes create dry-run pods too: for people, with their own rights.
func (s *Subject) AsCaller(config *rest.Config) {
	s.TryPod = func(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, []string, error) {
		return try(config, func(c kubernetes.Interface) (*corev1.Pod, error) {
			return c.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		})
	}
}

// try does one thing with a client of its own, and returns the warnings that came with the answer.
func try[T any](config *rest.Config, do func(kubernetes.Interface) (T, error)) (T, []string, error) {
	var heard warnings
	config = rest.CopyConfig(config)
	config.WarningHandler, config.WarningHandlerWithContext = nil, &heard
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		var none T
		return none, nil, fmt.Errorf("make client: %w", err)
	}
	out, err := do(client)
	heard.mu.Lock()
	defer heard.mu.Unlock()
	return out, heard.texts, err
}

// warnings collects those of one request.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}
