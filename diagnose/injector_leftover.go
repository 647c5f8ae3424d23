package diagnose

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/injectors"
)

// istioEnabled is the label of namespaces that ask for the revision default, or the tag of that name.
const istioEnabled, enabled = "istio-injection", "enabled"

// istio tells that pods choose among its configurations by revision.
func (n *neighbour) istio() bool { return n.injector != nil && n.title == "Istio" }

// called is the name by which namespaces and pods ask for it.
func (n *neighbour) called() string {
	if n.tag != "" {
		return n.tag
	}
	return n.revision
}

func names(list []*neighbour) string {
	var out []string
	for _, n := range list {
		out = append(out, n.called())
	}
	return strings.Join(out, ", ")
}

// serves tells whether pods of a namespace are sent to it that say nothing themselves.
func (n *neighbour) serves(l map[string]string) bool {
	return slices.ContainsFunc(n.entries, func(e *Entry) bool {
		return e.Mutating && e.Creates("pods") && e.SeesNamespace(l) && e.SeesObject(nil)
	})
}

func (n *neighbour) servesAll(namespaces []corev1.Namespace) bool {
	return !slices.ContainsFunc(namespaces, func(ns corev1.Namespace) bool { return !n.serves(ns.Labels) })
}

// asking returns the namespaces whose pods are sent to it; none where that cannot be known.
func (s *Subject) asking(ctx context.Context, n *neighbour) []corev1.Namespace {
	all, err := s.Namespaces(ctx)
	if err != nil {
		return nil
	}
	var out []corev1.Namespace
	for i := range all {
		if !systemNamespace(all[i].Name) && n.serves(all[i].Labels) {
			out = append(out, all[i])
		}
	}
	slices.SortFunc(out, func(a, b corev1.Namespace) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func namesOf(namespaces []corev1.Namespace) []string {
	var out []string
	for i := range namespaces {
		out = append(out, namespaces[i].Name)
	}
	return out
}

// askedFor says who asks for it.
func (s *Subject) askedFor(ctx context.Context, n *neighbour) string {
	if !n.entries[0].Mutating {
		return "no pod is sent to it"
	}
	if _, err := s.Namespaces(ctx); err != nil {
		return "which namespaces ask for it cannot be read"
	}
	switch of := namesOf(s.asking(ctx, n)); len(of) {
	case 0:
		return "no namespace asks for it"
	case 1:
		return "namespace " + of[0] + " asks for it"
	default:
		return "namespaces " + list(of) + " ask for it"
	}
}

// askedByNone tells that no namespace asks for it; false where that cannot be known.
func (s *Subject) askedByNone(ctx context.Context, n *neighbour) bool {
	_, err := s.Namespaces(ctx)
	return err == nil && len(s.asking(ctx, n)) == 0
}

// ownLabels are those by which pods ask for it themselves, in namespaces that say nothing; none where it is not known.
func (n *neighbour) ownLabels() []string {
	if !n.istio() {
		return nil
	}
	var out []string
	for _, l := range []token{{istioRevision, n.called()}, {"sidecar.istio.io/inject", "true"}} {
		if slices.ContainsFunc(n.entries, func(e *Entry) bool {
			return e.Mutating && e.Creates("pods") && e.SeesNamespace(nil) && e.SeesObject(map[string]string{l.key: l.value})
		}) {
			out = append(out, l.key+"="+l.value)
		}
	}
	return out
}

// templates lists the workloads whose own template asks for it. Pods of theirs would not do: where they are refused, there are none.
func (n *neighbour) templates() string {
	own := n.ownLabels()
	if len(own) == 0 {
		return ""
	}
	lines := []string{"Look first whether the template of a workload asks for it by a label of its own: such pods start without a sidecar once it is deleted. No line, no workload; what is listed is to ask for a revision that is there:"}
	for _, l := range own {
		key, value, _ := strings.Cut(l, "=")
		lines = append(lines, "kubectl get deploy,sts,ds,cronjobs,jobs -A -o jsonpath='{range .items[?(@..template.metadata.labels."+
			strings.ReplaceAll(key, ".", `\.`)+`=="`+value+`")]}{.kind}{"\t"}{.metadata.namespace}/{.metadata.name}{"\n"}{end}'`)
	}
	return steps(lines...)
}

// living returns other configurations of the same injector behind which its program runs, that of the default first.
func (n *neighbour) living(ctx context.Context, s *Subject) []*neighbour {
	var out []*neighbour
	for _, o := range n.all.list {
		if o == n || o.resting || !o.istio() || o.called() == n.called() {
			continue
		}
		c := o.callees()[0]
		b, err := s.behind(ctx, c)
		if err != nil || b.service == nil || abandoned(b) || o.orphan(b) != "" {
			continue
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b *neighbour) int {
		switch {
		case a.called() == b.called():
			return 0
		case a.called() == "default":
			return -1
		case b.called() == "default":
			return 1
		}
		return 0
	})
	return out
}

// move is how namespaces ask for another revision; "" where labels alone do not do it.
func (n *neighbour) move(asking []corev1.Namespace, to *neighbour) string {
	byName, byDefault := false, false
	for i := range asking {
		l := maps.Clone(asking[i].Labels)
		if to.serves(l) {
			continue
		}
		switch {
		case l[istioEnabled] == enabled:
			delete(l, istioEnabled)
			byDefault = true
		case l[istioRevision] == n.called():
			byName = true
		default:
			return ""
		}
		if l[istioRevision] = to.called(); !to.serves(l) {
			return ""
		}
	}
	var lines []string
	if byName {
		lines = append(lines, fmt.Sprintf("kubectl label namespace -l %s=%s %s=%s --overwrite", istioRevision, n.called(), istioRevision, to.called()))
	}
	if byDefault {
		lines = append(lines, fmt.Sprintf("kubectl label namespace -l %s=%s %s- %s=%s --overwrite", istioEnabled, enabled, istioEnabled, istioRevision, to.called()))
	}
	return steps(lines...)
}

// instead begins the way that is for few.
const instead = "If it should be here instead"

// remove deletes the configuration, with a copy kept in this directory.
func (n *neighbour) remove() string {
	return steps("kubectl get " + n.where() + " -o yaml > " + stamped(n.entries[0].Configuration) + ".yaml && kubectl delete " + n.where())
}

// leftOver says what to do about a configuration of something that is gone.
func (s *Subject) leftOver(ctx context.Context, n *neighbour) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	switch {
	case !n.entries[0].Mutating:
		return steps("Delete it, with a copy kept in this directory. What it checked is then not checked any more, and nothing is refused:", n.remove(), n.kept(), n.install(instead))
	case !n.istio():
		return steps("Delete it, with a copy kept in this directory. Pods then start without what "+n.title+" adds:", n.remove(), n.kept(), n.install(instead))
	}
	asking, heirs := s.asking(ctx, n), n.living(ctx, s)
	if n.tag != "" && len(heirs) > 0 {
		return steps(n.lead(heirs), n.kept())
	}
	own := n.templates()
	if len(asking) == 0 {
		return steps(own, "Delete it, with a copy kept in this directory:", n.remove(), n.kept(), n.install(instead))
	}
	for _, to := range heirs {
		if move := n.move(asking, to); move != "" {
			return steps("Have its namespaces ask for a revision that is there ("+names(heirs)+"):", move, own,
				"Then delete it, with a copy kept in this directory. Deleted before, their pods would start without a sidecar, and nobody would get an error:", n.remove(),
				n.restarts("If pods of theirs run with its sidecar, they have lost their control plane. Start them anew:", asking), n.kept(), n.install(instead))
		}
		if to.servesAll(asking) {
			return steps(own, "Another revision gets these pods as well ("+to.called()+"). Delete this one, with a copy kept in this directory:", n.remove(), n.kept(), n.install(instead))
		}
	}
	return steps(n.install("If it should be here"),
		"Or delete it, with a copy kept in this directory, if it is gone for good. Pods of those namespaces then start without a sidecar, and whoever demands mutual TLS refuses them:",
		n.remove(), own, n.kept())
}

// adopt is the command that has the istiod of a revision look after a configuration of another one that calls it.
func (n *neighbour) adopt(revision string) string {
	return "kubectl label " + n.where() + " " + istioRevision + "=" + revision + " --overwrite"
}

// orphaned is what to do about a configuration that nobody looks after, though an istiod of another revision answers.
func (s *Subject) orphaned(ctx context.Context, n *neighbour, revision string) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	if which := s.oneGoes(ctx, n); which != "" {
		return which
	}
	or := ""
	if n.tag == "" && s.askedByNone(ctx, n) {
		or = steps("Or delete it, with a copy kept in this directory, if no workload asks for revision "+n.revision+" in its own template either:", n.remove())
	}
	return steps("Have the istiod that answers (revision "+revision+") look after it. It then puts its CA in by itself, and nothing else changes for pods:",
		n.adopt(revision), n.kept(), or)
}

// adopted is what belongs to a change after which a configuration calls an istiod of another revision.
func (s *Subject) adopted(ctx context.Context, n *neighbour, b *backing) string {
	theirs := n.orphan(b)
	if theirs == "" {
		return ""
	}
	if which := s.oneGoes(ctx, n); which != "" {
		return which
	}
	return steps("With that it is called. Then have istiod (revision "+theirs+") look after it, or nobody renews its CA:", n.adopt(theirs))
}

// oneGoes points to the probe about a configuration that gets the same pods: what nobody looks after is not to be kept up beside
// it. It is "" where there is none.
func (s *Subject) oneGoes(ctx context.Context, n *neighbour) string {
	other := s.beside(ctx, n)
	if other == nil {
		return ""
	}
	at := ""
	if slices.Index(n.all.list, other) > slices.Index(n.all.list, n) { // it is told about the later of the two
		at = " of " + other.entries[0].Kind() + "/" + other.entries[0].Configuration
	}
	return "It gets the same pods as " + other.where() + ", and only one of the two should stay: do what " + overlapCode + at + " says below."
}

// beside returns a configuration that gets the same pods, and calls something that is there; nil where there is none.
func (s *Subject) beside(ctx context.Context, n *neighbour) *neighbour {
	namespaces, err := s.Namespaces(ctx)
	if err != nil || n.injector == nil {
		return nil
	}
	for _, other := range n.all.list {
		if other == n || other.resting || other.injector != n.injector {
			continue
		}
		if _, _, found := bothSee(n, other, namespaces); !found {
			continue
		}
		c := other.callees()[0]
		if b, err := s.behind(ctx, c); c.url != "" || err == nil && b.service != nil && !abandoned(b) {
			return other
		}
	}
	return nil
}

// lead has a tag lead to a revision that is there: istiod puts its CA into what bears its revision.
func (n *neighbour) lead(heirs []*neighbour) string {
	to := heirs[0]
	c := to.callees()[0]
	return steps("Lead the tag to a revision that is there ("+names(heirs)+"); its istiod puts its CA in:",
		"kubectl label "+n.where()+" "+istioRevision+"="+to.revision+" --overwrite",
		patchEntries(n.entries, op{"replace", "/clientConfig/service/name", c.name}, op{"replace", "/clientConfig/service/namespace", c.namespace}),
		"Or do it with istioctl:", "istioctl tag set "+n.tag+" --revision "+to.revision+" --overwrite",
		"Or delete it, with a copy kept in this directory, if nobody wants the tag any more:", n.remove())
}

// install is for what is not there yet, or should not have gone.
func (n *neighbour) install(when string) string {
	if n.istio() && n.revision != "" && n.tag == "" {
		return steps(when+", install it:", "istioctl install --revision "+n.revision)
	}
	if k := keeperOf(n.entries[0].Labels, n.entries[0].Annotations); k != nil {
		return steps(when+", have "+k.who+" install it again:", k.again)
	}
	return when + ", install " + n.title + " again."
}

// without finds the Deployment of an injector whose Service is gone; nil where there is none.
func (s *Subject) without(ctx context.Context, n *neighbour, c callee) (*appsv1.Deployment, error) {
	all, err := s.Deployments(ctx, c.namespace)
	if err != nil || n.injector == nil {
		return nil, err
	}
	for i := range all {
		d := &all[i]
		if d.Spec.Replicas != nil && *d.Spec.Replicas == 0 {
			continue
		}
		if revision := d.Spec.Template.Labels[istioRevision]; n.istio() && revision != "" && n.revision != revision {
			continue
		}
		if its(n.injector, d) && d.Name == c.name {
			return d, nil
		}
	}
	return nil, nil
}

// its tells whether a Deployment is an injector's.
func its(i *injectors.Injector, d *appsv1.Deployment) bool {
	return slices.ContainsFunc(i.Reads.Deployments, func(selector string) bool {
		s, err := labels.Parse(selector)
		return err == nil && s.Matches(labels.Set(d.Labels))
	})
}

// exposeAgain makes the Service as far as the webhook needs it.
func (n *neighbour) exposeAgain(c callee, d *appsv1.Deployment) string {
	target := int32(n.injector.Port)
	if declared := declaredPorts(d); target == 0 && len(declared) == 1 {
		target = declared[0]
	}
	k := keeperOf(d.Labels, d.Annotations)
	if target == 0 {
		return steps(k.bringBack(), "Have the installer of "+n.title+" make the Service again.")
	}
	why := "Make it again as far as the webhook needs it; the installer of " + n.title + " knows its other ports:"
	if k != nil {
		why = "Or make it as far as the webhook needs it, until that is possible:"
	}
	return steps(k.bringBack(), why,
		fmt.Sprintf("kubectl -n %s expose deployment %s --name=%s --port=%d --target-port=%d", c.namespace, d.Name, c.name, c.port, target))
}

// bringBack has the keeper write again what is gone.
func (k *keeper) bringBack() string {
	if k == nil {
		return ""
	}
	return steps("Have "+k.who+" write it again:", k.again)
}
