package diagnose

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sample is a pod that an entry is called for.
type sample struct {
	entry *Entry
	pod   *corev1.Pod
}

// sample returns a pod that the selectors of one of the entries match, in a namespace of the cluster: where pods are sent by
// the namespace alone, if there is such a one, as they are for users, and where few others are called, whose failures would
// hide this one's.
func (n *neighbour) sample(s *Subject, namespaces []corev1.Namespace) *sample {
	ordered := n.candidates(s, namespaces)
	for _, plain := range []bool{true, false} {
		for _, e := range n.entries {
			if !e.Creates("pods") {
				continue
			}
			l, ok := satisfying(e.ObjectSelector)
			if !ok || plain && !e.SeesObject(nil) {
				continue
			}
			if plain {
				l = nil
			}
			for _, ns := range ordered {
				if e.SeesNamespace(ns.Labels) {
					return &sample{e, n.bare(ns.Name, l)}
				}
			}
		}
	}
	return nil
}

// candidates are namespaces that an entry for pods sees, the best first.
func (n *neighbour) candidates(s *Subject, namespaces []corev1.Namespace) []*corev1.Namespace {
	const enough = 100 // of thousands that are alike
	var out []*corev1.Namespace
	for i := range namespaces {
		ns := &namespaces[i]
		if ns.Status.Phase == corev1.NamespaceTerminating || ns.Name == s.Own.Namespace || systemNamespace(ns.Name) {
			continue
		}
		if slices.ContainsFunc(n.entries, func(e *Entry) bool { return e.Creates("pods") && e.SeesNamespace(ns.Labels) }) {
			out = append(out, ns)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Namespace) int {
		return cmp.Or(cmp.Compare(strict(a), strict(b)), strings.Compare(a.Name, b.Name))
	})
	out = out[:min(len(out), enough)]
	company := map[*corev1.Namespace]int{}
	for _, ns := range out {
		company[ns] = n.company(ns)
	}
	slices.SortStableFunc(out, func(a, b *corev1.Namespace) int {
		return cmp.Or(cmp.Compare(strict(a), strict(b)), cmp.Compare(company[a], company[b]))
	})
	return out
}

// company counts the other configurations that get the pods of a namespace.
func (n *neighbour) company(ns *corev1.Namespace) int {
	count := 0
	if n.all == nil {
		return 0
	}
	for _, other := range n.all.list {
		if other != n && slices.ContainsFunc(other.entries, func(e *Entry) bool {
			return e.Mutating && e.Creates("pods") && e.SeesNamespace(ns.Labels) && e.SeesObject(nil)
		}) {
			count++
		}
	}
	return count
}

// strict sorts namespaces last in which Pod Security may refuse what injectors add.
func strict(ns *corev1.Namespace) int {
	switch ns.Labels["pod-security.kubernetes.io/enforce"] {
	case "", "privileged":
		return 0
	}
	return 1
}

// satisfying returns labels that a selector matches; ok is false where it contradicts itself.
func satisfying(s *metav1.LabelSelector) (out map[string]string, ok bool) {
	out = map[string]string{}
	if s == nil {
		return out, true
	}
	maps.Copy(out, s.MatchLabels)
	for _, e := range s.MatchExpressions {
		if _, there := out[e.Key]; there {
			continue
		}
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			if len(e.Values) > 0 {
				out[e.Key] = e.Values[0]
			}
		case metav1.LabelSelectorOpExists:
			out[e.Key] = "true"
		case metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpDoesNotExist:
		}
	}
	return out, selects(s, out)
}

// bare is the least that every policy lets pass, with what makes the injector act on it.
func (n *neighbour) bare(namespace string, l map[string]string) *corev1.Pod {
	yes, no := true, false
	user := int64(65534)
	few := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("8Mi")}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "holdfast-probe-", Namespace: namespace, Labels: l},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "probe", Image: "registry.k8s.io/pause:3.10", Resources: corev1.ResourceRequirements{Requests: few, Limits: few},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
	if n.injector != nil { // labels are not among them: they would change who is called
		pod.Annotations = maps.Clone(n.injector.Request)
	}
	return pod
}

// command is the same try with kubectl alone, which prints the API server's own words.
func (t *sample) command() string {
	words := []string{"kubectl -n " + t.pod.Namespace + " run holdfast-try --image=registry.k8s.io/pause:3.10 --dry-run=server"}
	if l := labelText(t.pod.Labels); l != "" {
		words = append(words, "--labels="+l)
	}
	for _, key := range slices.Sorted(maps.Keys(t.pod.Annotations)) {
		words = append(words, "--annotations="+key+"="+t.pod.Annotations[key])
	}
	return strings.Join(words, " ")
}
