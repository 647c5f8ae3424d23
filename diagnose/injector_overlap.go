package diagnose

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/report"
)

// mostShapes bounds how many kinds of namespaces are tried against two configurations.
const mostShapes = 200

func injectorOverlap() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF237", Name: "injector-overlap", Severity: report.Warning,
			Title: "no other configuration of the same injector gets the same pods",
			Why:   "Two configurations of one injector select the same pods: an old default beside a tag, a revision that was not removed, two releases of one chart. Such a pod is injected twice, by whichever version comes first; which one cannot be told from its labels.",
			Fix:   "Keep one of the two: remove the revision or the tag that is no longer wanted, or give the namespaces a label that only one of them selects.",
		},
		Needs: []string{"HF231"},
		ask:   aboutNeighbour(overlaps),
	}
}

func overlaps(ctx context.Context, s *Subject, n *neighbour) Result {
	if n.injector == nil {
		return notApplicable("it changes no pods")
	}
	namespaces, err := s.Namespaces(ctx)
	if err != nil {
		return cannot(err)
	}
	for _, other := range n.all.list {
		if other == n { // told once, about the later of the two
			break
		}
		if other.injector != n.injector || other.resting {
			continue
		}
		if namespace, pod, found := bothSee(n, other, namespaces); found {
			which := "pods in namespace " + namespace
			if pod != "" {
				which = "pods with " + pod + " in namespace " + namespace
			}
			return warn("Keep one: kubectl delete "+other.where()+", or delete "+n.where()+"; a tag is removed with istioctl tag remove TAG.",
				"%s are sent to %s as well: each injects them", which, other.where())
		}
	}
	return passed("%s", n.who())
}

// bothSee finds a namespace and the labels of a pod that is sent to both. Labels are those that the selectors speak of, two at
// most: selectors of injectors ask for no more.
func bothSee(a, b *neighbour, namespaces []corev1.Namespace) (namespace, pod string, found bool) {
	for _, x := range a.entries {
		for _, y := range b.entries {
			if !x.Creates("pods") || !y.Creates("pods") {
				continue
			}
			pods := podLabels(x, y)
			for _, ns := range shapes(namespaces, x, y) {
				if !x.SeesNamespace(ns.Labels) || !y.SeesNamespace(ns.Labels) {
					continue
				}
				for _, l := range pods {
					if x.SeesObject(l) && y.SeesObject(l) {
						return ns.Name, labelText(l), true
					}
				}
			}
		}
	}
	return "", "", false
}

// shapes returns one namespace of each kind that the selectors of two entries can tell apart.
func shapes(namespaces []corev1.Namespace, x, y *Entry) []*corev1.Namespace {
	keys := map[string]bool{}
	for _, selector := range []*metav1.LabelSelector{x.NamespaceSelector, y.NamespaceSelector} {
		for _, t := range tokens(selector) {
			keys[t.key] = true
		}
	}
	ordered := slices.Sorted(maps.Keys(keys))
	seen := map[string]bool{}
	var out []*corev1.Namespace
	for i := range namespaces {
		ns := &namespaces[i]
		var shape strings.Builder
		for _, k := range ordered {
			v, ok := ns.Labels[k]
			fmt.Fprintf(&shape, "%t%q", ok, v)
		}
		if !seen[shape.String()] && len(out) < mostShapes && !systemNamespace(ns.Name) {
			seen[shape.String()] = true
			out = append(out, ns)
		}
	}
	return out
}

type token struct{ key, value string }

// tokens are the labels that a selector speaks of, for or against.
func tokens(s *metav1.LabelSelector) []token {
	var out []token
	if s == nil {
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		out = append(out, token{k, s.MatchLabels[k]})
	}
	for _, e := range s.MatchExpressions {
		if len(e.Values) == 0 {
			out = append(out, token{e.Key, "true"})
		}
		for _, v := range e.Values {
			out = append(out, token{e.Key, v})
		}
	}
	return out
}

// podLabels returns sets of labels that the object selectors of two entries can tell apart, the smallest first.
func podLabels(x, y *Entry) []map[string]string {
	const most = 12
	all := append(tokens(x.ObjectSelector), tokens(y.ObjectSelector)...)
	slices.SortFunc(all, func(a, b token) int { return strings.Compare(a.key+"="+a.value, b.key+"="+b.value) })
	all = slices.Compact(all)
	all = all[:min(len(all), most)]
	out := []map[string]string{nil}
	for _, t := range all {
		out = append(out, map[string]string{t.key: t.value})
	}
	for i, t := range all {
		for _, u := range all[i+1:] {
			if t.key != u.key {
				out = append(out, map[string]string{t.key: t.value, u.key: u.value})
			}
		}
	}
	return out
}

func labelText(l map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(l)) {
		parts = append(parts, k+"="+l[k])
	}
	return strings.Join(parts, ",")
}

// systemNamespace tells those of Kubernetes itself, where injectors leave pods alone.
func systemNamespace(name string) bool { return strings.HasPrefix(name, "kube-") }
