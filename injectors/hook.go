package injectors

import (
	"cmp"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Hook is one registered mutating webhook that the API server may call for a new pod.
type Hook struct {
	Configuration string // metadata.name of its MutatingWebhookConfiguration
	Name          string
	Labels        map[string]string // of the configuration
	Service       string            // namespace/name, or "" for a URL
	Path          string            // of the service
	Reinvoked     bool              // reinvocationPolicy: IfNeeded
	// Conditional tells that it has matchConditions: whether it is called cannot be said without evaluating them.
	Conditional bool

	Namespaces, Objects labels.Selector

	// Self tells that this is Holdfast's own hook.
	Self bool
	// Injector is nil for a webhook that nobody in the catalogue owns.
	Injector *Injector
	Revision string
	Settings *Settings // nil when nothing is known
}

// Matches tells whether the API server calls the hook for a pod with these labels, its namespace given.
func (h *Hook) Matches(podLabels map[string]string) Tri {
	if !h.Objects.Empty() && !h.Objects.Matches(labels.Set(podLabels)) {
		return No
	}
	if h.Conditional {
		return Unknown
	}
	return Yes
}

func (h *Hook) settings() *Settings { return h.Settings.OrUnknown() }

// CallOrder returns the hooks for pods in the order in which the API server calls them: configurations by name, bytewise;
// within one as listed (k8s.io/apiserver, pkg/admission/configuration/mutating_webhook_manager.go at 0.36). Hooks whose
// selectors cannot be parsed are left out: the API server refuses to store them.
func CallOrder(configurations []*admissionregistrationv1.MutatingWebhookConfiguration) []*Hook {
	sorted := slices.Clone(configurations)
	slices.SortStableFunc(sorted, func(a, b *admissionregistrationv1.MutatingWebhookConfiguration) int {
		return cmp.Compare(a.Name, b.Name)
	})
	var hooks []*Hook
	for _, c := range sorted {
		for i := range c.Webhooks {
			if h, ok := newHook(c, &c.Webhooks[i]); ok {
				hooks = append(hooks, h)
			}
		}
	}
	return hooks
}

func newHook(c *admissionregistrationv1.MutatingWebhookConfiguration, w *admissionregistrationv1.MutatingWebhook) (*Hook, bool) {
	if !slices.ContainsFunc(w.Rules, createsPods) {
		return nil, false
	}
	namespaces, err := selector(w.NamespaceSelector)
	if err != nil {
		return nil, false
	}
	objects, err := selector(w.ObjectSelector)
	if err != nil {
		return nil, false
	}
	h := &Hook{
		Configuration: c.Name,
		Name:          w.Name,
		Labels:        c.Labels,
		Reinvoked:     w.ReinvocationPolicy != nil && *w.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy,
		Conditional:   len(w.MatchConditions) > 0,
		Namespaces:    namespaces,
		Objects:       objects,
	}
	if s := w.ClientConfig.Service; s != nil {
		h.Service = s.Namespace + "/" + s.Name
		if s.Path != nil {
			h.Path = *s.Path
		}
	}
	return h, true
}

// selector parses a label selector; an absent one selects everything.
func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

func createsPods(r admissionregistrationv1.RuleWithOperations) bool {
	return (slices.Contains(r.Operations, admissionregistrationv1.Create) || slices.Contains(r.Operations, admissionregistrationv1.OperationAll)) &&
		contains(r.APIGroups, "") && contains(r.APIVersions, "v1") && (contains(r.Resources, "pods") || slices.Contains(r.Resources, "*/*")) &&
		(r.Scope == nil || *r.Scope != admissionregistrationv1.ClusterScope)
}

func contains(list []string, want string) bool {
	return slices.Contains(list, want) || slices.Contains(list, "*")
}

// Self returns the place of Holdfast's own hook among the hooks, -1 where it is not among them.
func Self(hooks []*Hook) int {
	return slices.IndexFunc(hooks, func(h *Hook) bool { return h.Self })
}

// In returns the hooks whose namespace selector matches, in order.
func In(hooks []*Hook, namespaceLabels map[string]string) []*Hook {
	var in []*Hook
	for _, h := range hooks {
		if h.Namespaces.Matches(labels.Set(namespaceLabels)) {
			in = append(in, h)
		}
	}
	return in
}
