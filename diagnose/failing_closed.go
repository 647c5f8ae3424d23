package diagnose

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/report"
)

func failingClosed() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF217", Name: "failing-closed", Severity: report.Warning,
			Title: "the cluster does not stand still while Holdfast does",
			Why:   "With failurePolicy Fail no pod is created while Holdfast cannot be called. If that holds for the namespaces that the cluster itself lives in, or for Holdfast's own, nothing can be started again, Holdfast included; with a single replica, or without a disruption budget, every drain of a node stops the cluster.",
			Fix:   "Set failurePolicy: Ignore, or leave kube-system and Holdfast's namespace out by namespaceSelector, and run two replicas with a PodDisruptionBudget.",
		},
		harm:  dependsOnCase,
		Needs: []string{"HF206"},
		ask: func(ctx context.Context, s *Subject) Result {
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			var closed []*Entry
			for _, e := range entries {
				if !e.Probe() && e.Fails() {
					closed = append(closed, e)
				}
			}
			if len(closed) == 0 {
				return passed("failurePolicy is Ignore: pods are created without Holdfast while it cannot be called")
			}
			namespaces, err := s.Namespaces(ctx)
			if err != nil {
				return cannot(err)
			}
			if r := s.vital(entries, closed, namespaces); r != nil {
				return *r
			}
			return s.steady(ctx, closed)
		},
	}
}

// vital looks for entries that fail closed where the cluster itself lives, or we do; nil where there are none.
func (s *Subject) vital(entries, closed []*Entry, namespaces []corev1.Namespace) *Result {
	sees := map[*Entry][]string{}
	for _, e := range entries {
		for i := range namespaces {
			if n := &namespaces[i]; !e.Probe() && (n.Name == s.Own.Namespace || n.Name == metav1.NamespaceSystem) && e.SeesNamespace(n.Labels) {
				sees[e] = append(sees[e], n.Name)
			}
		}
	}
	bad := slices.DeleteFunc(slices.Clone(closed), func(e *Entry) bool { return len(sees[e]) == 0 })
	if len(bad) == 0 {
		return nil
	}
	leaveOut := patchEach(entries, func(e *Entry) []op {
		if len(sees[e]) == 0 {
			return nil
		}
		return leave(e.NamespaceSelector, sees[e])
	})
	e := bad[0]
	lead := "Leave out what has to start without Holdfast:"
	if strings.Contains(leaveOut, "\n") {
		lead = "Leave out what has to start without Holdfast, in both configurations, which are to see the same namespaces:"
	}
	r := warn(steps(lead, leaveOut,
		"Or have pods start everywhere without Holdfast while it cannot be called:", failOpen(closed), s.owned(e.object())),
		"%s (%s) has failurePolicy Fail and sees namespace %s: nothing there starts while Holdfast cannot be called%s",
		e.Where(), e.Name, strings.Join(sees[e], " and namespace "), besides(len(bad), "entry", "entries")).meaning(notYet)
	return &r
}

// steady tells whether there are enough of us to fail closed.
func (s *Subject) steady(ctx context.Context, closed []*Entry) Result {
	d, err := s.deployment(ctx)
	if err != nil {
		return cannot(err)
	}
	if d == nil {
		return unknown("", "%s has failurePolicy Fail; no Deployment of Holdfast is found in %s to look at", closed[0].Where(), s.Own.Namespace)
	}
	var problems, lines []string
	if replicas := d.Spec.Replicas; replicas == nil || *replicas < 2 {
		problems = append(problems, fmt.Sprintf("Deployment %s has %s", d.Name, plural(int(value32(replicas)), "replica")))
		lines = append(lines, "Run two, so that one may go:", s.kubectl()+" scale deploy/"+d.Name+" --replicas=2")
	}
	budgets, err := s.Client.PolicyV1().PodDisruptionBudgets(s.Own.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return cannot(fmt.Errorf("list poddisruptionbudgets in %s: %w", s.Own.Namespace, err))
	}
	budget := false
	for i := range budgets.Items {
		selector, err := metav1.LabelSelectorAsSelector(budgets.Items[i].Spec.Selector)
		budget = budget || err == nil && selector.Matches(labels.Set(d.Spec.Template.Labels))
	}
	if !budget {
		problems = append(problems, "no PodDisruptionBudget selects its pods")
		lines = append(lines, "Have drains of nodes leave one:", create(map[string]any{
			"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": map[string]any{"name": d.Name, "namespace": s.Own.Namespace},
			"spec": map[string]any{"maxUnavailable": 1, "selector": d.Spec.Selector},
		}))
	}
	if len(problems) > 0 {
		lines = append(lines, "Or have pods start without Holdfast while it cannot be called:", failOpen(closed), s.owned(d))
		return warn(steps(lines...), "%s has failurePolicy Fail, and %s", closed[0].Where(), strings.Join(problems, ", ")).meaning(notYet)
	}
	return passed("failurePolicy is Fail, outside of %s and %s; there are %d replicas and a disruption budget", metav1.NamespaceSystem, s.Own.Namespace, value32(d.Spec.Replicas))
}

func value32(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}
