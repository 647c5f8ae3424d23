package diagnose

import (
	"context"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

// lack says what it means for pods that these rights are missing.
func lack(missing []right) string {
	has := func(whys ...string) bool {
		return slices.ContainsFunc(missing, func(r right) bool { return slices.Contains(whys, r.why) })
	}
	others := slices.ContainsFunc(missing, func(r right) bool {
		return !slices.Contains([]string{ofCertificate, ofCA, ofDiagnosis, ofIssuing}, r.why)
	})
	switch {
	case has(ofCertificate, ofCA):
		return "Pods are not affected before the certificate ends, or is made anew: Holdfast cannot renew it, or have the API server believe it."
	case others:
		return "Pods start; what may not be read is unknown to Holdfast, which foretells less and refuses nothing on that account."
	}
	return noPod
}

// grant gives our ServiceAccount what is missing, in a role of its own for the cluster and for each namespace. It adds to what is
// there, whichever part of that has been lost.
func (s *Subject) grant(ctx context.Context, missing []right) string {
	account, keeper := ourName, ""
	if d, err := s.deployment(ctx); err == nil && d != nil {
		if k := keeperOf(d.Labels, d.Annotations); k != nil {
			keeper = k.who + " should have given them: see why it has not."
		}
		if account = d.Spec.Template.Spec.ServiceAccountName; account == "" {
			account = "default"
		}
	}
	lead := "Give them back; what is there already stays:"
	lines := []string{lead}
	var namespaces []string
	for i := range missing {
		if n := missing[i].Namespace; !slices.Contains(namespaces, n) {
			namespaces = append(namespaces, n)
		}
	}
	slices.Sort(namespaces)
	for _, namespace := range namespaces {
		kind, metadata := "ClusterRole", map[string]any{"name": account + "-restored", "labels": map[string]string{nameLabel: ourName}}
		if namespace != "" {
			kind, metadata["namespace"] = "Role", namespace
		}
		const group = rbacv1.GroupName
		role := map[string]any{"apiVersion": group + "/v1", "kind": kind, "metadata": metadata, "rules": rulesOf(missing, namespace)}
		binding := map[string]any{
			"apiVersion": group + "/v1", "kind": kind + "Binding", "metadata": metadata,
			"roleRef":  rbacv1.RoleRef{APIGroup: group, Kind: kind, Name: account + "-restored"},
			"subjects": []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: s.Own.Namespace}},
		}
		lines = append(lines, "echo '"+encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{role, binding}})+"' | kubectl auth reconcile -f -")
	}
	return steps(append(lines, keeper)...)
}

// rulesOf are the rules that give the rights of one namespace, or those for the whole cluster ("").
func rulesOf(missing []right, namespace string) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for i := range missing {
		r := &missing[i]
		if r.Namespace != namespace {
			continue
		}
		rule := rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: []string{r.Resource}}
		if r.page() {
			rule = rbacv1.PolicyRule{NonResourceURLs: []string{r.Resource}}
		}
		if r.Name != "" {
			rule.ResourceNames = []string{r.Name}
		}
		at := slices.IndexFunc(rules, func(o rbacv1.PolicyRule) bool {
			return slices.Equal(o.APIGroups, rule.APIGroups) && slices.Equal(o.Resources, rule.Resources) && slices.Equal(o.ResourceNames, rule.ResourceNames) && slices.Equal(o.NonResourceURLs, rule.NonResourceURLs)
		})
		if at < 0 {
			rules = append(rules, rule)
			at = len(rules) - 1
		}
		rules[at].Verbs = append(rules[at].Verbs, r.Verb)
	}
	return rules
}
