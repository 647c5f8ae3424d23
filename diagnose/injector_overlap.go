package diagnose

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"holdfast.dev/holdfast/report"
)

// mostShapes bounds how many kinds of namespaces are tried against two configurations.
const mostShapes = 200

// overlapCode is what those point to of which one has to go.
const overlapCode = "HF237"

func injectorOverlap() Probe {
	return Probe{
		Topic: report.Topic{
			Code: overlapCode, Name: "injector-overlap", Severity: report.Warning,
			Title: "no other configuration of the same injector gets the same pods",
			Why:   "Two configurations of one injector select the same pods: an old default beside a tag, a revision that was not removed, two releases of one chart. Such a pod is injected twice, by whichever version comes first; which one cannot be told from its labels.",
			Fix:   "Keep one of the two, by day: keep a copy of the configuration of the revision or tag that is no longer wanted, move the namespaces that it alone serves, and delete it; or give the namespaces a label that only one of them selects.",
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
			return warn(s.oneOf(ctx, other, n), "%s are sent to %s and to %s: each injects them", which, other.where(), n.where()).
				meaning(s.tonight(ctx, n, other))
		}
	}
	return passed("%s", n.who())
}

// tonight tells whether two configurations that get the same pods can wait until the day.
func (s *Subject) tonight(ctx context.Context, a, b *neighbour) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	const doubtful = "Nothing has to be done tonight, unless another probe has failed for one of the two: pods that get both are then refused, or lack a sidecar."
	for _, n := range []*neighbour{a, b} {
		if how, _ := s.standing(ctx, n, n); how == gone {
			return doubtful
		}
	}
	bundles := map[callee][]byte{}
	for _, e := range slices.Concat(a.entries, b.entries) {
		problem, _ := bundleNow(e, s.Now())
		bundle, another := bundles[e.callee()]
		if problem != "" || another && !bytes.Equal(bundle, e.ClientConfig.CABundle) {
			return doubtful
		}
		bundles[e.callee()] = e.ClientConfig.CABundle
	}
	return "Nothing has to be done tonight. Pods start, but which of the two they get is not certain."
}

// oneOf says what is known of two configurations, and how the one that is too much goes, where it can be told which.
func (s *Subject) oneOf(ctx context.Context, a, b *neighbour) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	aStands, aIs := s.standing(ctx, a, b)
	bStands, bIs := s.standing(ctx, b, a)
	surplus, stays := b, a
	switch {
	case aStands == bStands:
		const unwanted = "If %s is the one that is not wanted, keep a copy and delete it:"
		return steps(aIs, bIs, fmt.Sprintf(unwanted, b.where()), b.remove(), b.kept(), fmt.Sprintf(unwanted, a.where()), a.remove(), a.kept())
	case aStands < bStands:
		surplus, stays = a, b
	}
	alone := s.alone(ctx, surplus, stays)
	lines := []string{aIs, bIs}
	if len(alone) > 0 {
		move := ""
		if surplus.istio() {
			move = surplus.move(alone, stays)
		}
		if move == "" {
			return steps(append(lines, "Have namespaces "+list(namesOf(alone))+" served by "+stays.where()+" first.",
				"If that is done, keep a copy of "+surplus.where()+" and delete it:", surplus.remove(), surplus.kept())...)
		}
		lines = append(lines, "Have the namespaces that "+surplus.where()+" alone serves ask for the other:", move)
	}
	return steps(append(lines, "What is too much is "+surplus.where()+". Keep a copy and delete it:", surplus.remove(), surplus.kept())...)
}

// alone returns the namespaces that one serves and the other does not.
func (s *Subject) alone(ctx context.Context, n, other *neighbour) []corev1.Namespace {
	return slices.DeleteFunc(s.asking(ctx, n), func(ns corev1.Namespace) bool { return other.serves(ns.Labels) })
}

// stands is what is behind a configuration: the more, the rather it stays.
type stands int

const (
	gone   stands = iota
	others        // a program runs there that does not look after it
	runs
)

// standing tells whether the program of a configuration runs, in a sentence with what else is known of it.
func (s *Subject) standing(ctx context.Context, n, other *neighbour) (how stands, is string) {
	facts := []string{n.who()}
	c := n.callees()[0]
	b, err := s.behind(ctx, c)
	switch {
	case c.url != "" || err != nil:
		facts = append(facts, "calls "+c.String())
		how = runs
	case b.service == nil || abandoned(b):
		facts = append(facts, "its "+c.String()+" leads nowhere")
	case n.orphan(b) != "":
		how = others
		facts = append(facts, "its revision is not what runs behind "+c.String()+" ("+n.orphan(b)+")")
	default:
		how = runs
		facts = append(facts, "its program runs behind "+c.String())
	}
	if age := s.age(ctx, n); age != "" {
		facts = append(facts, age+" old")
	}
	if alone := namesOf(s.alone(ctx, n, other)); len(alone) > 0 {
		facts = append(facts, "it alone serves "+list(alone))
	}
	return how, "Known of " + n.where() + ": " + strings.Join(facts, "; ") + "."
}

// age is how old a configuration is, "" where that is not known.
func (s *Subject) age(ctx context.Context, n *neighbour) string {
	all, err := s.Mutating(ctx)
	if err != nil {
		return ""
	}
	for _, m := range all {
		if m.Name == n.entries[0].Configuration && !m.CreationTimestamp.IsZero() {
			return duration.HumanDuration(s.Now().Sub(m.CreationTimestamp.Time))
		}
	}
	return ""
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
