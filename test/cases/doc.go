// Package cases reads the fixtures of the heart: one txtar file a case, found by walking, never listed.
//
// The text before the first part says why the case exists; a case without it does not load. The parts, of which only the
// first is required:
//
//	pod.yaml        the pod under review; or
//	workload.yaml   the workload under review (its kind says which)
//	namespace.yaml  name, labels and annotations of the namespace; where absent shop, with istio-injection=enabled unless there
//	                are webhooks and none of them selects by that
//	webhooks.yaml   the registered mutating webhooks (see below): the plan is then predicted
//	cluster.yaml    what the cluster says of its meshes, Services and nodes (see Cluster)
//	config.yaml     the configuration file; the default one where absent
//	want            what the test prints, rewritten by -update
//	patch.json      the patch, rewritten by -update
//
// webhooks.yaml is a list. An entry is a MutatingWebhookConfiguration, or a short form that stands for what an installation
// registers: use: holdfast, istio, vault, openbao, or the name of a folder in injectors/testdata that has a webhook.yaml (the
// MutatingWebhookConfiguration as the product's chart writes it), and what differs from the default (see Webhook):
//
//   - use: holdfast
//   - {use: istio, revision: canary, reinvocation: IfNeeded}
//   - {use: vault, name: 0-a-vault}
//
// With webhooks a pod is seen as /mutate sees it (what is behind Holdfast's own hook is still to come) and a workload as a
// template that no webhook has met. The clock stands still at Now.
package cases
