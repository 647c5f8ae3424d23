package diagnose

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

func selectors() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF208", Name: "selectors", Severity: report.Error,
			Title: "the selectors let through what asks for Holdfast",
			Why:   "A selector of a webhook configuration leaves out a namespace that is labelled for Holdfast, or all pods without a certain label, or both configurations see different namespaces. What is left out is created as if Holdfast were not there, without an error.",
			Fix:   "Compare the selectors with those of the manifests: kubectl get mutatingwebhookconfiguration 0-holdfast -o yaml. Platforms add expressions of their own (AKS: control-plane, kubernetes.azure.com/managedby), which do no harm.",
		},
		Needs: []string{"HF206"},
		ask: func(ctx context.Context, s *Subject) Result {
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			namespaces, err := s.Namespaces(ctx)
			if err != nil {
				return cannot(err)
			}
			for _, e := range entries {
				var wrong *Result
				switch {
				case e.Probe():
					wrong = s.leavesProbeOut(e, namespaces)
				case e.Creates("pods"):
					wrong = s.leavesOut(e, namespaces)
				}
				if wrong != nil {
					return *wrong
				}
			}
			if r := disagreement(entries, namespaces); r != nil {
				return *r
			}
			return passed("%d of %s are seen", count(entries, namespaces), plural(len(namespaces), "namespace"))
		},
	}
}

// asks tells whether a namespace asks for Holdfast by its label. Those that no selector should let through do not count.
func (s *Subject) asks(n *corev1.Namespace) bool {
	mode, err := config.ParseMode(n.Labels[config.ModeLabel])
	return err == nil && mode != config.Off && !s.system(n.Name)
}

// system tells whether a namespace is left out on purpose.
func (s *Subject) system(name string) bool {
	return strings.HasPrefix(name, "kube-") || name == "cert-manager" || name == s.Own.Namespace
}

// leavesOut looks for what an entry for pods should see and does not; nil where there is nothing.
func (s *Subject) leavesOut(e *Entry, namespaces []corev1.Namespace) *Result {
	for i := range namespaces {
		if n := &namespaces[i]; s.asks(n) && !e.SeesNamespace(n.Labels) {
			r := failed("Put the namespaceSelector back: apply the manifests of Holdfast again.", "%s (%s) leaves out namespace %s, which is labelled %s=%s: %s",
				e.Where(), e.Name, n.Name, config.ModeLabel, n.Labels[config.ModeLabel], culprit(e.NamespaceSelector, n.Labels))
			return &r
		}
	}
	example := map[string]string{corev1.LabelMetadataName: "example", config.ModeLabel: config.Enforce.String()}
	if !e.SeesNamespace(example) {
		r := failed("Put the namespaceSelector back: apply the manifests of Holdfast again.", "%s (%s) leaves out namespaces that are labelled %s=enforce: %s",
			e.Where(), e.Name, config.ModeLabel, culprit(e.NamespaceSelector, example))
		return &r
	}
	if !e.SeesObject(nil) {
		r := failed("Remove the objectSelector: apply the manifests of Holdfast again.", "%s (%s) leaves out pods by their labels: %s",
			e.Where(), e.Name, metav1.FormatLabelSelector(e.ObjectSelector))
		return &r
	}
	if len(e.MatchConditions) > 0 {
		r := warn("Remove the matchConditions: apply the manifests of Holdfast again.", "%s (%s) has matchConditions, which can keep us from pods: %s", e.Where(), e.Name, e.MatchConditions[0].Expression)
		return &r
	}
	return nil
}

func (s *Subject) leavesProbeOut(e *Entry, namespaces []corev1.Namespace) *Result {
	for i := range namespaces {
		if n := &namespaces[i]; n.Name == s.Own.Namespace && !e.SeesNamespace(n.Labels) {
			r := failed("Put the namespaceSelector back: apply the manifests of Holdfast again.", "%s (%s) leaves out our own namespace, so that nothing can be tried: %s",
				e.Where(), e.Name, culprit(e.NamespaceSelector, n.Labels))
			return &r
		}
	}
	if mark := map[string]string{config.ProbeLabel: config.ProbeLabelValue}; !e.SeesObject(mark) {
		r := failed("Put the objectSelector back: apply the manifests of Holdfast again.", "%s (%s) leaves out the probe's own objects: %s",
			e.Where(), e.Name, metav1.FormatLabelSelector(e.ObjectSelector))
		return &r
	}
	return nil
}

// culprit is the part of a selector that does not match.
func culprit(s *metav1.LabelSelector, l map[string]string) string {
	for key, value := range s.MatchLabels {
		if l[key] != value {
			return key + "=" + value
		}
	}
	for _, x := range s.MatchExpressions {
		one := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{x}}
		if selector, err := metav1.LabelSelectorAsSelector(one); err != nil || !selector.Matches(labels.Set(l)) {
			return metav1.FormatLabelSelector(one)
		}
	}
	return metav1.FormatLabelSelector(s)
}

// disagreement finds a namespace whose pods one of the two configurations sees and the other does not.
func disagreement(entries []*Entry, namespaces []corev1.Namespace) *Result {
	for i := range namespaces {
		n := &namespaces[i]
		sees := map[bool]*Entry{}
		for _, e := range entries {
			if !e.Probe() && e.Creates("pods") && e.SeesNamespace(n.Labels) {
				sees[e.Mutating] = e
			}
		}
		if len(sees) == 1 {
			only := sees[true]
			if only == nil {
				only = sees[false]
			}
			r := failed("Give both configurations the same namespaceSelector: apply the manifests of Holdfast again.", "only %s sees namespace %s, the other configuration leaves it out", only.Where(), n.Name)
			return &r
		}
	}
	return nil
}

func count(entries []*Entry, namespaces []corev1.Namespace) int {
	n := 0
	for i := range namespaces {
		if slices.ContainsFunc(entries, func(e *Entry) bool {
			return !e.Probe() && e.Creates("pods") && e.SeesNamespace(namespaces[i].Labels)
		}) {
			n++
		}
	}
	return n
}
