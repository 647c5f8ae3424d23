package diagnose

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// admit has the namespaceSelector of an entry let through labels which it does not: it takes away exactly the requirements
// that they do not meet. What the selector is then comes with it.
func admit(e *Entry, l map[string]string) (ops []op, then *metav1.LabelSelector) {
	const at = "/namespaceSelector"
	if e.SeesNamespace(l) {
		return nil, e.NamespaceSelector
	}
	then = e.NamespaceSelector.DeepCopy()
	// From the last to the first, so that the places of the others hold.
	for i := len(then.MatchExpressions) - 1; i >= 0; i-- {
		x := &then.MatchExpressions[i]
		if meets(x, l) {
			continue
		}
		place, value := at+"/matchExpressions/"+strconv.Itoa(i), l[x.Key]
		k := slices.Index(x.Values, value)
		switch {
		case x.Operator == metav1.LabelSelectorOpNotIn && len(x.Values) > 1:
			place += "/values/" + strconv.Itoa(k)
			ops = append(ops, op{"test", place, value}, op{Op: "remove", Path: place})
			x.Values = slices.Delete(x.Values, k, k+1)
		case x.Operator == metav1.LabelSelectorOpIn && x.Key == corev1.LabelMetadataName && e.Probe(): // which sees our namespace alone
			ops = append(ops, op{"test", place + "/key", x.Key}, op{"add", place + "/values/-", value})
			x.Values = append(x.Values, value)
		default:
			ops = append(ops, op{"test", place, *x}, op{Op: "remove", Path: place})
			then.MatchExpressions = slices.Delete(then.MatchExpressions, i, i+1)
		}
	}
	for _, key := range sortedKeys(then.MatchLabels) {
		if value := then.MatchLabels[key]; l[key] != value {
			place := at + "/matchLabels/" + pointer(key)
			ops = append(ops, op{"test", place, value}, op{Op: "remove", Path: place})
			delete(then.MatchLabels, key)
		}
	}
	return ops, then
}

// leave has the namespaceSelector of an entry leave namespaces out by their names.
func leave(selector *metav1.LabelSelector, names []string) []op {
	const at = "/namespaceSelector"
	requirement := metav1.LabelSelectorRequirement{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: names}
	switch {
	case selector == nil:
		return []op{{"add", at, metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{requirement}}}}
	case len(selector.MatchExpressions) == 0:
		return []op{{"add", at + "/matchExpressions", []metav1.LabelSelectorRequirement{requirement}}}
	}
	for i, x := range selector.MatchExpressions {
		if x.Key != requirement.Key || x.Operator != requirement.Operator {
			continue
		}
		place := at + "/matchExpressions/" + strconv.Itoa(i)
		ops := []op{{"test", place + "/key", x.Key}, {"test", place + "/operator", x.Operator}}
		for _, name := range names {
			ops = append(ops, op{"add", place + "/values/-", name})
		}
		return ops
	}
	return []op{{"add", at + "/matchExpressions/-", requirement}}
}

// meets tells whether labels meet a requirement.
func meets(x *metav1.LabelSelectorRequirement, l map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{*x}})
	return err == nil && selector.Matches(labels.Set(l))
}

// admitAll has entries see namespaces with these labels, each with its own, and none of those that are left out on purpose. more
// names the namespaces that are seen then and were not before, other than those with these labels.
func (s *Subject) admitAll(entries []*Entry, all []map[string]string, namespaces []corev1.Namespace) (lines string, more []string) {
	lines = patchEach(entries, func(e *Entry) (ops []op) {
		then := e.NamespaceSelector
		for _, l := range all {
			changed := &Entry{ValidatingWebhook: e.ValidatingWebhook} // without what e remembers of its selector
			changed.NamespaceSelector = then
			var part []op
			part, then = admit(changed, l)
			ops = append(ops, part...)
		}
		if ops == nil {
			return nil
		}
		var vital []string
		for i := range namespaces {
			n := &namespaces[i]
			switch {
			case e.SeesNamespace(n.Labels) || !selects(then, n.Labels):
			case s.system(n.Name):
				vital = append(vital, n.Name)
			case !slices.Contains(more, n.Name) && !slices.ContainsFunc(all, func(l map[string]string) bool { return l[corev1.LabelMetadataName] == n.Name }):
				more = append(more, n.Name)
			}
		}
		if len(vital) > 0 {
			ops = append(ops, leave(then, vital)...)
		}
		return ops
	})
	return lines, more
}
