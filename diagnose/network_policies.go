package diagnose

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"holdfast.dev/holdfast/report"
)

func networkPolicies() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF212", Name: "network-policies", Severity: report.Warning,
			Title: "network policies leave the port of the server open",
			Why:   "A NetworkPolicy selects the pods of Holdfast and lets nobody in at the port of the server, or only pods. The API server is no pod: where policies are enforced, and its traffic is not let through as that of a node, its calls time out.",
			Fix:   "Add a policy that lets everybody in at the server's port: policies add up, and the API server has no label that one could select. Where its addresses are known, name them as ipBlock.",
		},
		Needs: []string{"HF210"},
		ask: func(ctx context.Context, s *Subject) Result {
			if l := s.needed["HF210"]; l != nil && l.State == NotApplicable {
				return notApplicable("the webhooks are called by URL")
			}
			all, err := s.Client.NetworkingV1().NetworkPolicies(s.Own.Namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return cannot(fmt.Errorf("list networkpolicies in %s: %w", s.Own.Namespace, err))
			}
			pod, err := s.example(ctx)
			if err != nil {
				return cannot(err)
			}
			var taken, names []string
			open, some := false, ""
			port := s.port(ctx)
			for i := range all.Items {
				p := &all.Items[i]
				taken = append(taken, p.Name)
				if !selectsIngress(p, pod.Labels) {
					continue
				}
				names = append(names, p.Name)
				for _, rule := range p.Spec.Ingress {
					switch from := letsIn(&rule, &pod.Spec, port); from {
					case "":
					case anybody:
						open = true
					default:
						some = from
					}
				}
			}
			return judgePolicies(ctx, s, pod, taken, names, open, some, port)
		},
	}
}

func judgePolicies(ctx context.Context, s *Subject, pod *corev1.Pod, taken, names []string, open bool, some string, port int) Result {
	// Policies add up: one that lets everybody in at this port is enough.
	name := "holdfast-webhook"
	for n := 2; slices.Contains(taken, name); n++ {
		name = fmt.Sprintf("holdfast-webhook-%d", n)
	}
	ours := s.telling(ctx, pod)
	fix := steps(fmt.Sprintf("Let everybody in at port %d, which speaks TLS only, for the API server is no pod that one could select; nothing else is opened, and policies add up:", port),
		create(map[string]any{
			"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": map[string]any{"name": name, "namespace": s.Own.Namespace},
			"spec": map[string]any{
				"podSelector": metav1.LabelSelector{MatchLabels: ours}, "policyTypes": []string{"Ingress"},
				"ingress": []any{map[string]any{"ports": []any{map[string]any{"port": port, "protocol": "TCP"}}}},
			},
		}))
	if len(ours) == 0 { // it would select all pods of the namespace, and shut out whoever reaches them now
		fix = fmt.Sprintf("Let everybody in at port %d of Holdfast's pods, by a NetworkPolicy that selects these and no others.", port)
	}
	const effect = "Nothing is broken, and nothing has to be done tonight, as long as HF215 passes; where the network enforces policies, the API server's calls time out."
	switch {
	case len(names) == 0:
		return notApplicable("no NetworkPolicy selects the pods")
	case open:
		return passed("%s", list(names))
	case some != "":
		return warn(fix, "NetworkPolicy %s lets in only %s at port %d: the API server may not be among them", list(names), some, port).meaning(effect)
	}
	return warn(fix, "NetworkPolicy %s lets nobody in at port %d", list(names), port).meaning(effect)
}

// telling are the labels of a pod of ours that tell it from others': those that are shipped, else those by which its Deployment
// knows it; none where nobody tells.
func (s *Subject) telling(ctx context.Context, pod *corev1.Pod) map[string]string {
	labels := map[string]string{}
	for _, key := range []string{nameLabel, componentLabel} {
		if value, ok := pod.Labels[key]; ok {
			labels[key] = value
		}
	}
	if len(labels) == 2 {
		return labels
	}
	if d, err := s.deployment(ctx); err == nil && d != nil && d.Spec.Selector != nil {
		return d.Spec.Selector.MatchLabels
	}
	return nil
}

// example is a pod of ours: one that runs, else what the Deployment would make.
func (s *Subject) example(ctx context.Context) (*corev1.Pod, error) {
	pods, err := s.serverPods(ctx)
	if err != nil {
		return nil, err
	}
	if len(pods) > 0 {
		return &pods[0], nil
	}
	d, err := s.deployment(ctx)
	if err != nil || d == nil {
		return &corev1.Pod{}, err
	}
	return &corev1.Pod{ObjectMeta: d.Spec.Template.ObjectMeta, Spec: d.Spec.Template.Spec}, nil
}

func selectsIngress(p *networkingv1.NetworkPolicy, l map[string]string) bool {
	ingress := len(p.Spec.PolicyTypes) == 0
	for _, t := range p.Spec.PolicyTypes {
		ingress = ingress || t == networkingv1.PolicyTypeIngress
	}
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	return ingress && err == nil && selector.Matches(labels.Set(l))
}

// anybody is the answer of letsIn where a rule asks nobody who they are.
const anybody = "anybody"

// letsIn says whom a rule lets in at the port, "" for nobody.
func letsIn(rule *networkingv1.NetworkPolicyIngressRule, spec *corev1.PodSpec, port int) string {
	if !opens(rule.Ports, spec, port) {
		return ""
	}
	if len(rule.From) == 0 {
		return anybody
	}
	var from []string
	for _, peer := range rule.From {
		switch {
		case peer.IPBlock != nil && (peer.IPBlock.CIDR == "0.0.0.0/0" || peer.IPBlock.CIDR == "::/0") && len(peer.IPBlock.Except) == 0:
			return anybody
		case peer.IPBlock != nil:
			from = append(from, peer.IPBlock.CIDR)
		default:
			from = append(from, "pods")
		}
	}
	return list(unique(from))
}

func opens(ports []networkingv1.NetworkPolicyPort, spec *corev1.PodSpec, port int) bool {
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		switch {
		case p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP:
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			if target(&corev1.ServicePort{TargetPort: *p.Port}, spec) == int32(port) { //nolint:gosec // a port
				return true
			}
		case p.EndPort != nil && int(p.Port.IntVal) <= port && port <= int(*p.EndPort), int(p.Port.IntVal) == port:
			return true
		}
	}
	return false
}
