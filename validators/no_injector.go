package validators

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// noInjector finds pods that ask for an injection which no registered webhook will do.
func noInjector() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF132", Name: "no-injector", Severity: report.Warning,
			Title: "Injection asked for, and nobody does it",
			Why: "The API server calls a webhook only where its selectors match the labels of the pod and of its namespace. A revision that does not exist, a namespace without the " +
				"label, an injector that is not installed: the pod is admitted as it is, runs without its sidecar, and nothing says so.",
			Fix: "Give the namespace or the pod the label that a registered webhook selects (kubectl get mutatingwebhookconfigurations -o yaml), install the injector, or do not ask.",
		},
		check: func(i *inspection) {
			for _, injector := range i.plan.Env.Catalogue.All {
				if i.neglects(injector) && !(i.registered(injector) && i.keptAway(injector) && i.on(injectionLabels())) {
					i.unserved(injector)
				}
			}
		},
	}
}

// neglects tells whether the injection is asked for and nobody does it. A pod on the host's network is another rule's, and without
// webhooks nothing is known.
func (i *inspection) neglects(injector *injectors.Injector) bool {
	return len(i.target.Namespace.Registered) > 0 && !i.target.Spec.HostNetwork && i.asks(injector) && injector.Owns != nil &&
		!i.serves(injector) && !slices.ContainsFunc(i.plan.Env.Catalogue.All, i.alsoAskedAs(injector))
}

// registered tells whether the injector has a webhook, called for the pod or not.
func (i *inspection) registered(injector *injectors.Injector) bool {
	return slices.ContainsFunc(i.target.Namespace.Registered, func(h *injectors.Hook) bool { return h.Injector == injector })
}

// keptAway tells whether the injector itself knows what keeps its webhooks away: another rule says so.
func (i *inspection) keptAway(injector *injectors.Injector) bool {
	return injector.Muddle != nil && slices.ContainsFunc(injector.Muddle(i.target), func(m injectors.Muddle) bool { return m.Away })
}

// on tells whether another rule speaks about this pod.
func (i *inspection) on(other Rule) bool {
	return i.config.Severity(&other.Topic) != report.Off && !i.config.Exempt(i.target, other.Code, other.Name, i.plan.Env.Now)
}

// serves tells whether the injector has acted on the pod, or will be called for it.
func (i *inspection) serves(injector *injectors.Injector) bool {
	return i.called(injector) || i.plan.Acts(injector)
}

// alsoAskedAs tells of another injector whether it is asked in the same words, and does what was asked.
func (i *inspection) alsoAskedAs(injector *injectors.Injector) func(*injectors.Injector) bool {
	return func(other *injectors.Injector) bool {
		return other != injector && i.asks(other) && i.serves(other) && speakAlike(other, injector)
	}
}

// speakAlike tells whether two injectors read a key in common: one descends from the other.
func speakAlike(a, b *injectors.Injector) bool {
	return slices.ContainsFunc(a.Annotations, func(one injectors.Annotation) bool {
		return slices.ContainsFunc(b.Annotations, func(other injectors.Annotation) bool { return one.Key == other.Key })
	})
}

func (i *inspection) unserved(injector *injectors.Injector) {
	if why, fix := i.unselected(injector); why != "" {
		i.find(nil, "nobody does "+injector.Title+"'s injection: "+why+".", fix)
	}
}

// unselected says why no webhook of the injector is called for the pod, and what to do. A pod with a label that the webhook leaves
// out is one of the injector's own, or has opted out: why is "" then.
func (i *inspection) unselected(injector *injectors.Injector) (why, fix string) {
	var best miss
	var registered []string
	for _, h := range i.target.Namespace.Registered {
		if h.Injector != injector {
			continue
		}
		if !slices.Contains(registered, h.Configuration) {
			registered = append(registered, h.Configuration)
		}
		switch m := i.misses(h); {
		case m.rank > best.rank:
			best = m
		case m.rank == best.rank:
			best.merge(&m)
		}
	}
	switch {
	case len(registered) == 0:
		return "no webhook of " + injector.Title + " is registered", "Install it, or do not ask for it."
	case best.own && slices.ContainsFunc(best.wants, func(w want) bool { return w.without }):
		return "", ""
	case best.rank == 0:
		return report.Shorten(strings.Join(registered, ", "), 80) + " selects neither the pod nor its namespace",
			"kubectl get mutatingwebhookconfiguration " + registered[0] + " -o yaml"
	}
	return best.why(), i.give(&best)
}

// miss is what keeps a webhook away, where that is labels of one object: the pod's, or its namespace's.
type miss struct {
	rank   int // 0 where it is more than that; else the likelier to be what was meant, the higher
	object string
	own    bool // the pod's
	wants  []want
	labels map[string]string
}

// want is what a selector says of one label.
type want struct {
	key     string
	values  []string // one of them, or any where there are none
	without bool     // none of them
}

// misses compares the hook's selectors with the labels. A label that is there with another value is likelier to be what was meant
// than one that is not there, a single one likelier than two, the pod's likelier than the namespace's, and one that was written
// as an annotation likelier still; so is a hook that the pod is labelled for itself, whatever its namespace's other pods are.
func (i *inspection) misses(h *injectors.Hook) miss {
	n := i.target.Namespace
	namespace := unmet(h.Namespaces, n.Labels)
	pod := unmet(h.Objects, i.target.Meta.Labels)
	m := miss{object: "namespace " + n.Name, wants: namespace, labels: n.Labels}
	if len(namespace) == 0 {
		m = miss{object: "the pod", own: true, wants: pod, labels: i.target.Meta.Labels}
	}
	if len(m.wants) == 0 || len(m.wants) > 2 || len(namespace) > 0 && len(pod) > 0 {
		return miss{}
	}
	m.rank = 1
	if len(m.wants) == 1 {
		m.rank += 4
	}
	if m.own || selects(h.Objects) {
		m.rank++
	}
	if slices.ContainsFunc(m.wants, func(w want) bool { return has(m.labels, w.key) }) {
		m.rank += 2
	} else if m.own && has(i.target.Meta.Annotations, m.wants[0].key) {
		m.rank++
	}
	return m
}

// selects tells whether only pods with a certain label are selected.
func selects(s labels.Selector) bool {
	requirements, _ := s.Requirements()
	return slices.ContainsFunc(requirements, func(r labels.Requirement) bool {
		return r.Operator() == selection.In || r.Operator() == selection.Equals || r.Operator() == selection.DoubleEquals || r.Operator() == selection.Exists
	})
}

func has(set map[string]string, key string) bool { _, there := set[key]; return there }

// unmet returns what the selector wants of the labels, and they have not.
func unmet(s labels.Selector, set map[string]string) []want {
	requirements, selectable := s.Requirements()
	if !selectable {
		return make([]want, 3) // nothing is ever selected
	}
	var out []want
	for k := range requirements {
		if r := &requirements[k]; !r.Matches(labels.Set(set)) {
			without := r.Operator() == selection.NotIn || r.Operator() == selection.NotEquals || r.Operator() == selection.DoesNotExist
			out = append(out, want{key: r.Key(), values: r.ValuesUnsorted(), without: without})
		}
	}
	return out
}

// merge adds what another hook wants where that differs in the values alone, as between revisions.
func (m *miss) merge(other *miss) {
	if m.own != other.own || !slices.EqualFunc(m.wants, other.wants, func(a, b want) bool { return a.key == b.key && a.without == b.without }) {
		return
	}
	for k := range m.wants {
		m.wants[k].values = append(m.wants[k].values, other.wants[k].values...)
		slices.Sort(m.wants[k].values)
		m.wants[k].values = slices.Compact(m.wants[k].values)
	}
}

// why says what the webhook wants and what is there instead: its webhook wants istio.io/rev=default or prod, namespace shop has
// istio.io/rev=canary.
func (m *miss) why() string {
	var wants, not, bears []string
	for _, w := range m.wants {
		text := w.key
		if len(w.values) > 0 {
			text += "=" + report.Shorten(strings.Join(w.values, " or "), 50)
		}
		if w.without {
			not = append(not, "no "+text)
		} else {
			wants = append(wants, text)
		}
		if value, there := m.labels[w.key]; there {
			bears = append(bears, w.key+"="+report.Shorten(value, 30))
		}
	}
	if m.wants[0].key == corev1.LabelMetadataName {
		return "its webhook leaves " + m.object + " out"
	}
	if len(wants) == 0 {
		return "its webhook leaves " + m.object + " out for its label " + strings.Join(bears, " and ")
	}
	if len(bears) == 0 {
		bears = []string{"no such label"}
	}
	return "its webhook wants " + strings.Join(append(wants, not...), " and ") + ", " + m.object + " has " + strings.Join(bears, " and ")
}

// give is the line that gives the object what the webhook wants.
func (i *inspection) give(m *miss) string {
	var command, away, labels []string
	for _, w := range m.wants {
		switch {
		case w.key == corev1.LabelMetadataName:
			return "Use another namespace."
		case w.without:
			away = append(away, w.key+"-")
		case len(w.values) == 0:
			return "Give " + m.object + " the label " + w.key + "."
		default:
			command, labels = append(command, w.key+"="+w.values[0]), append(labels, w.key+`: "`+w.values[0]+`"`)
		}
	}
	if m.own {
		return "Label " + i.annotated() + ": " + strings.Join(labels, ", ")
	}
	return "kubectl label --overwrite namespace " + i.target.Namespace.Name + " " + strings.Join(append(command, away...), " ")
}
