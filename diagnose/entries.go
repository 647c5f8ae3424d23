package diagnose

import (
	"cmp"
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// Paths of the server, as the entries of our webhook configurations have to name them.
const (
	MutatePath   = "/mutate"
	ValidatePath = "/validate"
)

// nameLabel marks the objects of an installation, whatever they are called.
const (
	nameLabel, ourName = "app.kubernetes.io/name", "holdfast"
	componentLabel     = "app.kubernetes.io/component"
)

// injectFrom is where cert-manager's cainjector is told whose CA to put into a webhook configuration.
const injectFrom = certmanager.WantInjectAnnotation

// Entry is one entry of a webhook configuration, of either kind.
type Entry struct {
	Mutating      bool
	Configuration string // metadata.name
	Index         int    // in its webhooks
	Labels        map[string]string
	Annotations   map[string]string
	// Fields are the configuration's, with who has written them.
	Fields []metav1.ManagedFieldsEntry
	// ValidatingWebhook has what both kinds have in common.
	admissionregistrationv1.ValidatingWebhook
	Reinvocation admissionregistrationv1.ReinvocationPolicyType // "" for validating ones

	namespaces, objects ready // the selectors, compiled: clusters have thousands of namespaces
}

// ready is a selector that has been compiled once.
type ready struct {
	of       *metav1.LabelSelector
	selector labels.Selector
}

func (r *ready) matches(s *metav1.LabelSelector, l map[string]string) bool {
	if r.selector == nil || r.of != s { // somebody has put another one in
		return selects(s, l)
	}
	return r.selector.Matches(labels.Set(l))
}

// Kind is that of the configuration.
func (e *Entry) Kind() string {
	if e.Mutating {
		return "MutatingWebhookConfiguration"
	}
	return "ValidatingWebhookConfiguration"
}

// Where names the configuration as kubectl takes it.
func (e *Entry) Where() string { return strings.ToLower(e.Kind()) + "/" + e.Configuration }

// object is the configuration, as far as its entries know it.
func (e *Entry) object() metav1.Object {
	return &metav1.ObjectMeta{Name: e.Configuration, Labels: e.Labels, Annotations: e.Annotations, ManagedFields: e.Fields}
}

// Fails tells that an object is turned away while the webhook cannot be called.
func (e *Entry) Fails() bool {
	return e.FailurePolicy == nil || *e.FailurePolicy == admissionregistrationv1.Fail
}

// timeout is how long the API server waits for an answer, in seconds.
func (e *Entry) timeout() int {
	const unset = 10 // admissionregistration.k8s.io/v1
	if e.TimeoutSeconds == nil {
		return unset
	}
	return int(*e.TimeoutSeconds)
}

// Port is the one of the Service that is called.
func (e *Entry) Port() int32 {
	if s := e.ClientConfig.Service; s != nil && s.Port != nil {
		return *s.Port
	}
	return 443
}

// Path is what is called.
func (e *Entry) Path() string {
	switch {
	case e.ClientConfig.Service != nil && e.ClientConfig.Service.Path != nil:
		return *e.ClientConfig.Service.Path
	case e.ClientConfig.URL != nil:
		if u, err := url.Parse(*e.ClientConfig.URL); err == nil {
			return u.Path
		}
	}
	return "/"
}

// Host is the name that the certificate of whoever answers has to bear.
func (e *Entry) Host() string {
	switch {
	case e.ClientConfig.Service != nil:
		return e.ClientConfig.Service.Name + "." + e.ClientConfig.Service.Namespace + ".svc"
	case e.ClientConfig.URL != nil:
		if u, err := url.Parse(*e.ClientConfig.URL); err == nil {
			return u.Hostname()
		}
	}
	return ""
}

// Probe tells that the entry is one of the two for the probe of reachability.
func (e *Entry) Probe() bool { return e.Name == config.ProbeMutate || e.Name == config.ProbeValidate }

// Creates tells whether the entry is called for the creation of a resource of the core group.
func (e *Entry) Creates(resource string) bool {
	return slices.ContainsFunc(e.Rules, func(r admissionregistrationv1.RuleWithOperations) bool {
		has := func(list []string, want string) bool {
			return slices.Contains(list, want) || slices.Contains(list, "*")
		}
		creates := slices.Contains(r.Operations, admissionregistrationv1.Create) || slices.Contains(r.Operations, admissionregistrationv1.OperationAll)
		return creates && has(r.APIGroups, "") && has(r.APIVersions, "v1") &&
			(has(r.Resources, resource) || slices.Contains(r.Resources, "*/*")) // all, and all that is under them
	})
}

// SeesNamespace tells whether the namespace selector matches a namespace with these labels; a selector that cannot be parsed
// matches nothing.
func (e *Entry) SeesNamespace(l map[string]string) bool {
	return e.namespaces.matches(e.NamespaceSelector, l)
}

// SeesObject does the same for the object selector.
func (e *Entry) SeesObject(l map[string]string) bool {
	return e.objects.matches(e.ObjectSelector, l)
}

func selects(s *metav1.LabelSelector, l map[string]string) bool {
	return compiled(s).Matches(labels.Set(l))
}

// compiled is a selector of a webhook configuration: without one everything is selected.
func compiled(s *metav1.LabelSelector) labels.Selector {
	if s == nil {
		return labels.Everything()
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}

// Entries returns the entries of all webhook configurations, in the order in which the API server calls them: mutating ones
// first, configurations by name, entries as listed.
func (s *Subject) Entries(ctx context.Context) ([]*Entry, error) {
	all, err := s.seen.entries.get(ctx, s.seen.life, s.readEntries)
	return slices.Clone(all), err // the list is the caller's, the entries are everybody's
}

func (s *Subject) readEntries(ctx context.Context) ([]*Entry, error) {
	mutating, err := s.Mutating(ctx)
	if err != nil {
		return nil, err
	}
	validating, err := s.Validating(ctx)
	if err != nil {
		return nil, err
	}
	var out []*Entry
	for _, m := range sorted(mutating, func(m *admissionregistrationv1.MutatingWebhookConfiguration) string { return m.Name }) {
		for i := range m.Webhooks {
			w := &m.Webhooks[i]
			e := &Entry{Mutating: true, Configuration: m.Name, Index: i, Labels: m.Labels, Annotations: m.Annotations, Fields: m.ManagedFields, ValidatingWebhook: admissionregistrationv1.ValidatingWebhook{
				Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
				NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
				TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
			}}
			if w.ReinvocationPolicy != nil {
				e.Reinvocation = *w.ReinvocationPolicy
			}
			out = append(out, e.tame())
		}
	}
	for _, v := range sorted(validating, func(v *admissionregistrationv1.ValidatingWebhookConfiguration) string { return v.Name }) {
		for i := range v.Webhooks {
			e := &Entry{Configuration: v.Name, Index: i, Labels: v.Labels, Annotations: v.Annotations, Fields: v.ManagedFields, ValidatingWebhook: v.Webhooks[i]}
			out = append(out, e.tame())
		}
	}
	return out, nil
}

// tame makes plain words of what the API server does not check and commands will name: a Service's name and namespace, and the
// Certificate that an annotation points to; and compiles the selectors.
func (e *Entry) tame() *Entry {
	if service := e.ClientConfig.Service; service != nil {
		copied := *service
		copied.Namespace, copied.Name = report.Word(service.Namespace), report.Word(service.Name)
		e.ClientConfig.Service = &copied
	}
	e.namespaces = ready{e.NamespaceSelector, compiled(e.NamespaceSelector)}
	e.objects = ready{e.ObjectSelector, compiled(e.ObjectSelector)}
	if from, ok := e.Annotations[injectFrom]; ok {
		e.Annotations = maps.Clone(e.Annotations)
		e.Annotations[injectFrom] = report.Word(from)
	}
	return e
}

func sorted[T any](list []T, name func(T) string) []T {
	return slices.SortedStableFunc(slices.Values(list), func(a, b T) int { return cmp.Compare(name(a), name(b)) })
}

// Ours tells whether an entry calls us: through our Service, or by a URL in a configuration that carries our label.
func (s *Subject) Ours(e *Entry) bool {
	if service := e.ClientConfig.Service; service != nil {
		return service.Namespace == s.Own.Namespace && service.Name == s.Own.Service
	}
	return e.Labels[nameLabel] == ourName
}

// ourEntries returns the entries that call us.
func (s *Subject) ourEntries(ctx context.Context) ([]*Entry, error) {
	all, err := s.Entries(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(e *Entry) bool { return !s.Ours(e) }), nil
}

// byURL tells whether none of the entries goes through a Service: then there is no Service to ask about.
func byURL(entries []*Entry) bool {
	return len(entries) > 0 && !slices.ContainsFunc(entries, func(e *Entry) bool { return e.ClientConfig.Service != nil })
}

// hooks returns the mutating hooks for pods in call order, ours and those of known injectors marked.
func (s *Subject) hooks(ctx context.Context) ([]*injectors.Hook, error) {
	configurations, err := s.Mutating(ctx)
	if err != nil {
		return nil, err
	}
	hooks := injectors.CallOrder(configurations)
	for _, h := range hooks {
		h.Self = h.Service == s.Own.Namespace+"/"+s.Own.Service && h.Path == MutatePath || h.Service == "" && h.Labels[nameLabel] == ourName
		h.Injector, h.Revision = s.owner(h)
	}
	return hooks, nil
}

// owner returns whose a hook is by the catalogue; nil for one that it does not know.
func (s *Subject) owner(h *injectors.Hook) (*injectors.Injector, string) {
	if s.Catalogue == nil {
		return nil, ""
	}
	for _, i := range s.Catalogue.All {
		if i.Owns == nil {
			continue
		}
		if revision, ok := i.Owns(h); ok {
			return i, revision
		}
	}
	return nil, ""
}
