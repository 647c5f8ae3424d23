package webhook

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"holdfast.dev/holdfast/injectors"
)

// MutatePath and ValidatePath are where the server answers.
const (
	MutatePath   = "/mutate"
	ValidatePath = "/validate"
)

// snapshot is what follows from the webhook configurations and the settings of the meshes at one moment. It is immutable
// but for what it remembers, which follows from it.
type snapshot struct {
	hooks   []*injectors.Hook
	missing []string
	// webhooks are the Services that answer for webhooks, by namespace.
	webhooks map[string][]injectors.WebhookService

	// remembered holds *seenNamespace by name, so that a request walks neither all webhooks nor all namespaces.
	remembered sync.Map
}

type seenNamespace struct {
	version   string
	namespace *injectors.Namespace
}

func newSnapshot(configurations []*admissionregistrationv1.MutatingWebhookConfiguration, src *injectors.Sources, known Knowledge, self types.NamespacedName) *snapshot {
	s := &snapshot{hooks: injectors.CallOrder(configurations), missing: src.Missing}
	known.Catalogue.Identify(s.hooks, src, known.Override)
	for _, h := range s.hooks {
		h.Self = isSelf(h, self)
	}
	return s
}

// isSelf goes by our Service, not by the names of objects, which installations change. A URL instead of a Service (a server
// outside of the cluster) counts where the configuration carries our label.
func isSelf(h *injectors.Hook, self types.NamespacedName) bool {
	if h.Service == "" {
		return h.Labels[NameLabel] == Name
	}
	return h.Service == self.String() && h.Path == MutatePath
}

// namespace returns the namespace with the hooks that see its pods.
func (s *snapshot) namespace(n *corev1.Namespace) *injectors.Namespace {
	version := string(n.UID) + "/" + n.ResourceVersion
	if seen, ok := s.remembered.Load(n.Name); ok {
		if seen := seen.(*seenNamespace); seen.version == version {
			return seen.namespace
		}
	}
	out := newNamespace(n, s.hooks)
	s.remembered.Store(n.Name, &seenNamespace{version: version, namespace: out})
	return out
}

func newNamespace(n *corev1.Namespace, hooks []*injectors.Hook) *injectors.Namespace {
	return &injectors.Namespace{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations, Hooks: injectors.In(hooks, n.Labels), Registered: hooks}
}

// notice says in one sentence what is wrong with our place in the call order, "" when nothing is.
func (s *snapshot) notice() string {
	self := injectors.Self(s.hooks)
	if self < 0 {
		return "no mutating webhook configuration calls Holdfast for new pods: nothing can be put right, pods are only judged"
	}
	var problems []string
	var before []string
	for _, h := range s.hooks[:self] {
		if h.Injector != nil && !slices.Contains(before, h.Configuration) {
			before = append(before, h.Configuration)
		}
	}
	name := s.hooks[self].Configuration
	if len(before) > 0 {
		problems = append(problems, fmt.Sprintf("%q is called after %s: give it a name that sorts before them", name, strings.Join(before, ", ")))
	}
	if !s.hooks[self].Reinvoked {
		problems = append(problems, fmt.Sprintf("%q is not called again after the injectors: set its reinvocationPolicy to IfNeeded", name))
	}
	return strings.Join(problems, "; ")
}

// webhookServices returns the Services that the API server calls as webhooks, by namespace, in a stable order.
func webhookServices(mutating []*admissionregistrationv1.MutatingWebhookConfiguration, validating []*admissionregistrationv1.ValidatingWebhookConfiguration) map[string][]injectors.WebhookService {
	out := map[string][]injectors.WebhookService{}
	add := func(configuration string, c *admissionregistrationv1.WebhookClientConfig) {
		if c.Service == nil {
			return
		}
		w := injectors.WebhookService{Configuration: configuration, Service: c.Service.Name, Port: 443}
		if p := c.Service.Port; p != nil && *p > 0 && *p < 1<<16 {
			w.Port = uint16(*p)
		}
		if !slices.Contains(out[c.Service.Namespace], w) {
			out[c.Service.Namespace] = append(out[c.Service.Namespace], w)
		}
	}
	for _, m := range mutating {
		for i := range m.Webhooks {
			add("MutatingWebhookConfiguration/"+m.Name, &m.Webhooks[i].ClientConfig)
		}
	}
	for _, v := range validating {
		for i := range v.Webhooks {
			add("ValidatingWebhookConfiguration/"+v.Name, &v.Webhooks[i].ClientConfig)
		}
	}
	for _, services := range out {
		slices.SortFunc(services, func(a, b injectors.WebhookService) int {
			return cmp.Or(cmp.Compare(a.Configuration, b.Configuration), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Port, b.Port))
		})
	}
	return out
}

// deployments returns what a source of Deployments has read, in a stable order.
func deployments(s *source) []injectors.Deployment {
	var out []injectors.Deployment
	for _, d := range list[*appsv1.Deployment](s) {
		out = append(out, reduced(d))
	}
	slices.SortFunc(out, func(a, b injectors.Deployment) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}
