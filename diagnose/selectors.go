package diagnose

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

func selectors() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF208", Name: "selectors", Severity: report.Error,
			Title: "the selectors let through what asks for Holdfast",
			Why:   "A selector of a webhook configuration leaves out a namespace that is labelled for Holdfast, or all pods without a certain label, or both configurations see different namespaces. What is left out is created as if Holdfast were not there, without an error.",
			Fix:   "Take the requirement away that the namespace does not meet; holdfast webhooks prints the selectors as they are shipped. Platforms add expressions of their own (AKS: control-plane, kubernetes.azure.com/managedby), which do no harm.",
		},
		harm:  hidesPods,
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
					wrong = s.leavesOut(e, entries, namespaces)
				}
				if wrong != nil {
					return *wrong
				}
			}
			if r := s.disagreement(entries, namespaces); r != nil {
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
func (s *Subject) leavesOut(e *Entry, entries []*Entry, namespaces []corev1.Namespace) *Result {
	for i := range namespaces {
		n := &namespaces[i]
		if !s.asks(n) || e.SeesNamespace(n.Labels) {
			continue
		}
		names, all := s.leftOut(entries, n, namespaces)
		fix, others, effect := s.takeIn(entries, all, namespaces, ofNamespaces(names))
		r := failed(steps(fix, "If it was meant, take the label from the namespace:", "kubectl label namespace "+strings.Join(names, " ")+" "+config.ModeLabel+"-", s.owned(e.object())),
			"%s (%s) leaves out namespace %s, which is labelled %s=%s: %s%s",
			e.Where(), e.Name, n.Name, config.ModeLabel, n.Labels[config.ModeLabel], culprit(e.NamespaceSelector, n.Labels), others).meaning(effect)
		return &r
	}
	example := map[string]string{corev1.LabelMetadataName: "example", config.ModeLabel: config.Enforce.String()}
	if !e.SeesNamespace(example) {
		fix, others, effect := s.takeIn(entries, []map[string]string{example}, namespaces, " of such namespaces")
		r := failed(steps(fix, s.owned(e.object())), "%s (%s) leaves out namespaces that are labelled %s=enforce: %s%s",
			e.Where(), e.Name, config.ModeLabel, culprit(e.NamespaceSelector, example), others).meaning(effect)
		return &r
	}
	if !e.SeesObject(nil) {
		blind := slices.DeleteFunc(slices.Clone(entries), func(o *Entry) bool { return o.Probe() || o.SeesObject(nil) })
		r := failed(steps("Have it see all pods again:", patchEntries(blind, op{"replace", "/objectSelector", map[string]any{}}), s.owned(e.object())),
			"%s (%s) sees only pods with these labels: %s%s", e.Where(), e.Name, metav1.FormatLabelSelector(e.ObjectSelector), besides(len(blind), "entry", "entries")).
			meaning(missedBy(blind, " without these labels"))
		return &r
	}
	if len(e.MatchConditions) > 0 {
		r := warn(steps("Remove the condition, which is not Holdfast's:", e.patch(op{Op: "remove", Path: "/matchConditions"}), s.owned(e.object())),
			"%s (%s) has matchConditions, which can keep us from pods: %s", e.Where(), e.Name, e.MatchConditions[0].Expression).
			meaning("Pods for which a condition is false start as if Holdfast were not there, and nobody gets an error.")
		return &r
	}
	return nil
}

// leftOut finds the namespaces that ask for Holdfast and are left out as this one is, with their labels.
func (s *Subject) leftOut(entries []*Entry, n *corev1.Namespace, namespaces []corev1.Namespace) (names []string, all []map[string]string) {
	for i := range namespaces {
		if o := &namespaces[i]; s.asks(o) && !slices.ContainsFunc(entries, func(e *Entry) bool {
			return !e.Probe() && e.Creates("pods") && e.SeesNamespace(o.Labels) != e.SeesNamespace(n.Labels)
		}) {
			names, all = append(names, o.Name), append(all, o.Labels)
		}
	}
	return names, all
}

func ofNamespaces(names []string) string {
	if len(names) == 1 {
		return " of namespace " + names[0]
	}
	return " of namespaces " + list(names)
}

// takeIn has all entries of ours but the probe's see namespaces with these labels, which are those of the pods that are spoken of.
func (s *Subject) takeIn(entries []*Entry, all []map[string]string, namespaces []corev1.Namespace, of string) (fix, others, effect string) {
	blind := slices.DeleteFunc(slices.Clone(entries), func(o *Entry) bool {
		return o.Probe() || !slices.ContainsFunc(all, func(l map[string]string) bool { return !o.SeesNamespace(l) })
	})
	lines, more := s.admitAll(blind, all, namespaces)
	lead := "Change what leaves it out, and nothing else:"
	if len(more) > 0 {
		lead = "Change what leaves it out (" + list(more) + " will be seen then, too):"
	}
	return steps(lead, lines), besides(len(blind), "entry", "entries"), missedBy(blind, of)
}

// missedBy is what it means that these entries of ours do not see pods that they should: which, of says.
func missedBy(blind []*Entry, of string) string {
	missed := func(mutating bool) bool {
		return slices.ContainsFunc(blind, func(e *Entry) bool { return e.Mutating == mutating && e.Creates("pods") })
	}
	return unseenOf(of, missed(true), missed(false))
}

func (s *Subject) leavesProbeOut(e *Entry, namespaces []corev1.Namespace) *Result {
	for i := range namespaces {
		if n := &namespaces[i]; n.Name == s.Own.Namespace && !e.SeesNamespace(n.Labels) {
			ops, _ := admit(e, n.Labels)
			r := failed(steps("Have it see our namespace again:", e.patch(ops...), s.owned(e.object())), "%s (%s) leaves out our own namespace, so that nothing can be tried: %s",
				e.Where(), e.Name, culprit(e.NamespaceSelector, n.Labels)).meaning(noPod)
			return &r
		}
	}
	if mark := map[string]string{config.ProbeLabel: config.ProbeLabelValue}; !e.SeesObject(mark) {
		r := failed(steps("Have it see the probe's objects again:", e.patch(op{"replace", "/objectSelector", metav1.LabelSelector{MatchLabels: mark}}), s.owned(e.object())), "%s (%s) leaves out the probe's own objects: %s",
			e.Where(), e.Name, metav1.FormatLabelSelector(e.ObjectSelector)).meaning(noPod)
		return &r
	}
	return nil
}

// culprit is the part of a selector that does not match.
func culprit(s *metav1.LabelSelector, l map[string]string) string {
	for _, key := range sortedKeys(s.MatchLabels) {
		if l[key] != s.MatchLabels[key] {
			return key + "=" + s.MatchLabels[key]
		}
	}
	for i := range s.MatchExpressions {
		if x := &s.MatchExpressions[i]; !meets(x, l) {
			return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchExpressions: s.MatchExpressions[i : i+1]})
		}
	}
	return metav1.FormatLabelSelector(s)
}

// disagreement finds a namespace whose pods one of the two configurations sees and the other does not.
func (s *Subject) disagreement(entries []*Entry, namespaces []corev1.Namespace) *Result {
	for i := range namespaces {
		n := &namespaces[i]
		sees, blind := map[bool]*Entry{}, map[bool]*Entry{}
		for _, e := range entries {
			switch {
			case e.Probe() || !e.Creates("pods"):
			case e.SeesNamespace(n.Labels):
				sees[e.Mutating] = e
			default:
				blind[e.Mutating] = e
			}
		}
		if len(sees) != 1 {
			continue
		}
		only := sees[true]
		if only == nil {
			only = sees[false]
		}
		other := blind[!only.Mutating]
		if other == nil { // HF206's
			continue
		}
		same := slices.DeleteFunc(slices.Clone(entries), func(e *Entry) bool { return e.Probe() || e.Mutating == only.Mutating })
		lines, more := s.admitAll(same, []map[string]string{n.Labels}, namespaces)
		lead := "Have both see it:"
		if len(more) > 0 {
			lead = "Have both see it (" + list(more) + " will be seen by both then, too):"
		}
		narrow := slices.DeleteFunc(slices.Clone(entries), func(e *Entry) bool { return e.Probe() || e.Mutating != only.Mutating || !e.SeesNamespace(n.Labels) })
		r := failed(steps(lead, lines, "If neither should see it:", patchEntries(narrow, op{"replace", "/namespaceSelector", other.NamespaceSelector}), s.owned(other.object())),
			"only %s sees namespace %s, %s leaves it out: %s", only.Where(), n.Name, other.Where(), culprit(other.NamespaceSelector, n.Labels)).
			meaning(unseenOf(ofNamespaces([]string{n.Name}), other.Mutating, !other.Mutating))
		return &r
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
