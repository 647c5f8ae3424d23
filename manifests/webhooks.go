package manifests

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The two webhook configurations of the base, as kustomize reads them too.
var (
	//go:embed base/mutating.yaml
	mutating []byte
	//go:embed base/validating.yaml
	validating []byte
)

// The names that the base has, and what an overlay for namespaces that opt in adds.
const (
	namespace = "holdfast-system"
	service   = "holdfast"
	nameLabel = "app.kubernetes.io/name"
	partLabel = "app.kubernetes.io/part-of"
	product   = "holdfast"
	modeLabel = "holdfast.dev/mode"
)

// Installation is where the webhooks lead, and what differs from one installation to the next. The zero value is the base in
// its own namespace.
type Installation struct {
	Namespace, Service string
	// OptIn is the overlay of that name: namespaces without the label are not seen.
	OptIn bool
	// CABundle is put into every entry; nil where Holdfast or cert-manager does it.
	CABundle []byte
	// InjectFrom is the Certificate, NAMESPACE/NAME, whose CA cert-manager puts in; "" without.
	InjectFrom string
	// Mutating and Validating are the failurePolicy of all entries of a kind but the probe's; "" leaves that of the base.
	Mutating, Validating admissionregistrationv1.FailurePolicyType
}

// Webhooks returns the two webhook configurations of an installation, as this version ships them.
func Webhooks(i Installation) (*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	var m admissionregistrationv1.MutatingWebhookConfiguration
	if err := yaml.UnmarshalStrict(mutating, &m); err != nil {
		return nil, nil, fmt.Errorf("read the mutating webhook configuration: %w", err)
	}
	var v admissionregistrationv1.ValidatingWebhookConfiguration
	if err := yaml.UnmarshalStrict(validating, &v); err != nil {
		return nil, nil, fmt.Errorf("read the validating webhook configuration: %w", err)
	}
	if i.Namespace == "" {
		i.Namespace = namespace
	}
	if i.Service == "" {
		i.Service = service
	}
	i.describe(&m.ObjectMeta)
	i.describe(&v.ObjectMeta)
	for k := range m.Webhooks {
		w := &m.Webhooks[k]
		i.lead(&w.ClientConfig, w.NamespaceSelector, len(w.ObjectSelector.MatchLabels) > 0)
		if i.Mutating != "" && len(w.ObjectSelector.MatchLabels) == 0 {
			w.FailurePolicy = &i.Mutating
		}
	}
	for k := range v.Webhooks {
		w := &v.Webhooks[k]
		i.lead(&w.ClientConfig, w.NamespaceSelector, len(w.ObjectSelector.MatchLabels) > 0)
		if i.Validating != "" && len(w.ObjectSelector.MatchLabels) == 0 {
			w.FailurePolicy = &i.Validating
		}
	}
	return &m, &v, nil
}

// Names are what the two configurations of the installation are called.
func (i Installation) Names() (mutating, validating string) {
	prefix, suffix := i.around()
	return prefix + "0-" + product + suffix, prefix + product + suffix
}

func (i *Installation) describe(o *metav1.ObjectMeta) {
	prefix, suffix := i.around()
	o.Name = prefix + o.Name + suffix
	o.Labels = map[string]string{nameLabel: product, partLabel: product}
	if i.InjectFrom != "" {
		o.Annotations = map[string]string{certmanager.WantInjectAnnotation: i.InjectFrom}
	}
}

// around is what kustomize has put before and after all names.
func (i *Installation) around() (prefix, suffix string) {
	prefix, suffix, ok := strings.Cut(i.Service, service)
	if !ok {
		return "", ""
	}
	return prefix, suffix
}

// lead points an entry to the installation. The probe's entries are known by their objectSelector: they see our namespace,
// which the others leave out, and fail closed in it alone.
func (i *Installation) lead(c *admissionregistrationv1.WebhookClientConfig, namespaces *metav1.LabelSelector, probe bool) {
	c.Service.Namespace, c.Service.Name, c.CABundle = i.Namespace, i.Service, i.CABundle
	for k := range namespaces.MatchExpressions {
		x := &namespaces.MatchExpressions[k]
		if at := slices.Index(x.Values, namespace); at >= 0 {
			x.Values[at] = i.Namespace
		}
	}
	if probe {
		return
	}
	if i.OptIn {
		namespaces.MatchExpressions = append(namespaces.MatchExpressions, metav1.LabelSelectorRequirement{Key: modeLabel, Operator: metav1.LabelSelectorOpExists})
	}
}
