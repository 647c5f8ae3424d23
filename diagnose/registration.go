package diagnose

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/manifests"
)

// The kinds of webhook configurations, as `holdfast webhooks` takes them.
const (
	mutatingKind   = "mutating"
	validatingKind = "validating"
)

// Installation is what a webhook configuration of ours would have to be here, as far as those that are there tell: one that was
// deleted is made again after the other. From names the one that was read, "" where none is left.
func (s *Subject) Installation(ctx context.Context) (i manifests.Installation, from string, err error) {
	subject := *s // what it reads is not to outlive the call
	subject.seen = newSeen(ctx)
	i = manifests.Installation{Namespace: s.Own.Namespace, Service: s.Own.Service}
	entries, err := subject.ourEntries(ctx)
	if err != nil {
		return i, "", err
	}
	for _, e := range entries {
		if e.Probe() {
			continue
		}
		if e.Creates("pods") {
			if from == "" {
				from, i.OptIn = e.Where(), optIn(e.NamespaceSelector)
			}
			policy := &i.Validating
			if e.Mutating {
				policy = &i.Mutating
			}
			if *policy == "" && e.FailurePolicy != nil {
				*policy = *e.FailurePolicy
			}
		}
		if i.InjectFrom == "" {
			i.InjectFrom = e.Annotations[injectFrom]
		}
		if i.CABundle == nil && !bundleOfOurs(e.ClientConfig.CABundle) {
			i.CABundle = e.ClientConfig.CABundle
		}
	}
	i.Mutating, i.Validating = cmp.Or(i.Mutating, i.Validating), cmp.Or(i.Validating, i.Mutating)
	if c := subject.certificateOf(ctx, subject.origin(ctx).secret); i.InjectFrom == "" && c != nil {
		i.InjectFrom = c.Namespace + "/" + c.Name
	}
	if i.InjectFrom != "" { // cert-manager puts it in
		i.CABundle = nil
	}
	return i, from, nil
}

// Webhooks are the configurations of an installation. One that is there stays as it is, and gets the entries that it lacks: what
// was changed in it was changed on purpose.
func (s *Subject) Webhooks(ctx context.Context, i manifests.Installation) (*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	m, v, err := manifests.Webhooks(i)
	if err != nil {
		return nil, nil, err
	}
	subject := *s // what it reads is not to outlive the call
	subject.seen = newSeen(ctx)
	mutating, err := subject.Mutating(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, there := range mutating {
		if there.Name == m.Name {
			m.ObjectMeta = described(&there.ObjectMeta)
			m.Webhooks = joined(there.Webhooks, m.Webhooks, func(w admissionregistrationv1.MutatingWebhook) string { return w.Name })
		}
	}
	validating, err := subject.Validating(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, there := range validating {
		if there.Name == v.Name {
			v.ObjectMeta = described(&there.ObjectMeta)
			v.Webhooks = joined(there.Webhooks, v.Webhooks, func(w admissionregistrationv1.ValidatingWebhook) string { return w.Name })
		}
	}
	return m, v, nil
}

// described is what of an object's metadata is written by those who apply it.
func described(o *metav1.ObjectMeta) metav1.ObjectMeta {
	annotations := maps.Clone(o.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	return metav1.ObjectMeta{Name: o.Name, Labels: o.Labels, Annotations: annotations}
}

// joined adds to a list what it lacks by name.
func joined[T any](there, shipped []T, name func(T) string) []T {
	out := slices.Clone(there)
	for _, w := range shipped {
		if !slices.ContainsFunc(there, func(o T) bool { return name(o) == name(w) }) {
			out = append(out, w)
		}
	}
	return out
}

// optIn tells whether a selector lets through namespaces with our label alone.
func optIn(s *metav1.LabelSelector) bool {
	return s != nil && slices.ContainsFunc(s.MatchExpressions, func(x metav1.LabelSelectorRequirement) bool {
		return x.Key == config.ModeLabel && x.Operator == metav1.LabelSelectorOpExists
	})
}

// bundleOfOurs tells whether Holdfast has put a CA of its own in, and will again.
func bundleOfOurs(bundle []byte) bool {
	block, _ := pem.Decode(bundle)
	if block == nil {
		return len(bundle) == 0
	}
	c, err := x509.ParseCertificate(block.Bytes)
	return err == nil && selfMade([]*x509.Certificate{c})
}

// writeAgain is how webhook configurations of ours are made again as this version ships them: by whoever keeps what is left of
// the installation, else from the binary.
//
// which is one kind, or "" for both.
func (s *Subject) writeAgain(ctx context.Context, which string) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	var keeper *keeper
	if entries, err := s.ourEntries(ctx); err == nil {
		for _, e := range entries {
			if keeper == nil {
				keeper = keeperOf(e.Labels, e.Annotations)
			}
		}
	}
	if d, err := s.deployment(ctx); err == nil && d != nil && keeper == nil {
		keeper = keeperOf(d.Labels, d.Annotations)
	}
	ours := s.holdfast(ctx, strings.TrimSpace("webhooks "+which)) + " | kubectl apply -f -"
	if keeper == nil {
		return steps("Make it again as this version of Holdfast ships it:", ours)
	}
	return steps("Have "+keeper.who+" write it again:", keeper.again, "Or from the binary, until that is possible:", ours)
}
