package diagnose

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/report"
)

func failingClosed() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF217", Name: "failing-closed", Severity: report.Error,
			Title: "the cluster does not stand still while Holdfast does",
			Why:   "With failurePolicy Fail no pod is created while Holdfast cannot be called. If that holds for the namespaces that the cluster itself lives in, or for Holdfast's own, nothing can be started again, Holdfast included; with a single replica, or without a disruption budget, every drain of a node stops the cluster.",
			Fix:   "Set failurePolicy: Ignore, or leave kube-system and Holdfast's namespace out by namespaceSelector and run two replicas with a PodDisruptionBudget.",
		},
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
			for _, e := range closed {
				for i := range namespaces {
					n := &namespaces[i]
					if vital := n.Name == s.Own.Namespace || n.Name == metav1.NamespaceSystem; vital && e.SeesNamespace(n.Labels) {
						return failed("Leave "+n.Name+" out: kubectl edit "+e.Where(), "%s (%s) has failurePolicy Fail and sees namespace %s: nothing there starts while Holdfast cannot be called", e.Where(), e.Name, n.Name)
					}
				}
			}
			return s.steady(ctx, closed)
		},
	}
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
	var problems []string
	if replicas := d.Spec.Replicas; replicas == nil || *replicas < 2 {
		problems = append(problems, fmt.Sprintf("Deployment %s has %s", d.Name, plural(int(value32(replicas)), "replica")))
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
	}
	if len(problems) > 0 {
		return warn("kubectl -n "+s.Own.Namespace+" scale deploy/"+d.Name+" --replicas=2, and apply the PodDisruptionBudget of the manifests; or set failurePolicy: Ignore.",
			"%s has failurePolicy Fail, and %s", closed[0].Where(), strings.Join(problems, ", "))
	}
	return passed("failurePolicy is Fail, outside of %s and %s; there are %d replicas and a disruption budget", metav1.NamespaceSystem, s.Own.Namespace, value32(d.Spec.Replicas))
}

func value32(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}
