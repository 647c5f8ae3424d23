package cases

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"holdfast.dev/holdfast/injectors"
)

// Webhook is the short form of a MutatingWebhookConfiguration: what an installation of the product registers.
type Webhook struct {
	Use string `json:"use"` // holdfast, istio, vault, openbao, or any injector with a webhook.yaml in its folder of cases
	// Name of the configuration, where it is not the usual one.
	Name         string `json:"name,omitempty"`
	Reinvocation string `json:"reinvocation,omitempty"` // IfNeeded or Never; the product's own default where absent
	// Conditional gives every entry a matchCondition.
	Conditional bool `json:"conditional,omitempty"`

	// Of Istio: the revision, a tag that points to it, a control plane outside the cluster, and a default that a tag
	// replaced (istioctl tag set default).
	Revision    string `json:"revision,omitempty"`
	Tag         string `json:"tag,omitempty"`
	URL         string `json:"url,omitempty"`
	Deactivated bool   `json:"deactivated,omitempty"`
}

const ifNeeded = "IfNeeded"

// hooks reads webhooks.yaml into the API server's call order.
func hooks(data []byte) ([]*injectors.Hook, error) {
	var entries []json.RawMessage
	if err := yaml.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("webhooks.yaml: want a list: %w", err)
	}
	configurations := make([]*admissionregistrationv1.MutatingWebhookConfiguration, 0, len(entries))
	for i, entry := range entries {
		c, err := configuration(entry)
		if err != nil {
			return nil, fmt.Errorf("webhooks.yaml: entry %d: %w", i+1, err)
		}
		configurations = append(configurations, c)
	}
	all := injectors.CallOrder(configurations)
	for _, h := range all {
		h.Self = h.Service == "holdfast/holdfast" && h.Path == "/mutate"
	}
	return all, nil
}

func configuration(entry []byte) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	var kind metav1.TypeMeta
	if err := json.Unmarshal(entry, &kind); err != nil {
		return nil, err
	}
	if kind.Kind != "" {
		c := &admissionregistrationv1.MutatingWebhookConfiguration{}
		return c, yaml.UnmarshalStrict(entry, c)
	}
	var w Webhook
	if err := yaml.UnmarshalStrict(entry, &w); err != nil {
		return nil, err
	}
	switch w.Use {
	case "holdfast":
		return w.make("0-holdfast", ifNeeded, w.entry("pods.mutate.holdfast.dev", "holdfast", "holdfast", "/mutate")), nil
	case "vault":
		return w.make("vault-agent-injector-cfg", "Never", w.entry("vault.hashicorp.com", "vault", "vault-agent-injector-svc", "/mutate")), nil
	case "openbao":
		// Its chart has kept Vault's name for the webhook (openbao-helm 0.28.0, templates/injector-mutating-webhook.yaml).
		c := w.make("openbao-agent-injector-cfg", "Never", w.entry("vault.hashicorp.com", "openbao", "openbao-agent-injector-svc", "/mutate"))
		c.Labels = map[string]string{"app.kubernetes.io/name": "openbao-agent-injector"}
		return c, nil
	case "istio":
		return w.istio(), nil
	}
	return w.installed()
}

// WebhookFile is the file in an injector's folder of cases that holds the MutatingWebhookConfiguration which its installation
// registers.
const WebhookFile = "webhook.yaml"

// installed reads what an installation of the injector registers.
func (w *Webhook) installed() (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	dir, err := injectorCases()
	if err != nil {
		return nil, err
	}
	if w.Use == "" || strings.ContainsAny(w.Use, "./") {
		return nil, fmt.Errorf("use: %q is no name of an injector", w.Use)
	}
	data, err := os.ReadFile(filepath.Join(dir, w.Use, WebhookFile))
	if err != nil {
		return nil, fmt.Errorf("use: want holdfast, istio, vault, openbao, an injector with a webhook.yaml, or a whole MutatingWebhookConfiguration: %w", err)
	}
	c := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := yaml.UnmarshalStrict(data, c); err != nil {
		return nil, fmt.Errorf("%s/%s: %w", w.Use, WebhookFile, err)
	}
	if w.Name != "" {
		c.Name = w.Name
	}
	for i := range c.Webhooks {
		if w.Reinvocation != "" {
			c.Webhooks[i].ReinvocationPolicy = new(admissionregistrationv1.ReinvocationPolicyType(w.Reinvocation))
		}
		if w.Conditional {
			c.Webhooks[i].MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "some", Expression: "object.metadata.name != 'other'"}}
		}
	}
	return c, nil
}

// injectorCases is the directory of the injectors' cases, wherever in the module a test runs.
func injectorCases() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "injectors", "testdata"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}

func (w *Webhook) make(name, reinvocation string, webhooks ...admissionregistrationv1.MutatingWebhook) *admissionregistrationv1.MutatingWebhookConfiguration {
	if w.Name != "" {
		name = w.Name
	}
	if w.Reinvocation != "" {
		reinvocation = w.Reinvocation
	}
	for i := range webhooks {
		webhooks[i].ReinvocationPolicy = new(admissionregistrationv1.ReinvocationPolicyType(reinvocation))
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: webhooks}
}

func (w *Webhook) entry(name, namespace, service, path string) admissionregistrationv1.MutatingWebhook {
	out := admissionregistrationv1.MutatingWebhook{
		Name: name,
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}},
	}
	if w.URL != "" {
		out.ClientConfig.URL = &w.URL
	} else {
		out.ClientConfig.Service = &admissionregistrationv1.ServiceReference{Namespace: namespace, Name: service, Path: &path}
	}
	if w.Conditional {
		out.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "some", Expression: "object.metadata.name != 'other'"}}
	}
	return out
}

// istio registers what the chart does for a revision or a tag: two entries, and two more for the default
// (manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml).
func (w *Webhook) istio() *admissionregistrationv1.MutatingWebhookConfiguration {
	revision := w.Revision
	if revision == "" {
		revision = "default"
	}
	name, answersTo := "istio-sidecar-injector", revision
	if w.Tag != "" {
		name, answersTo = "istio-revision-tag-"+w.Tag, w.Tag
	} else if revision != "default" {
		name += "-" + revision
	}
	const rev, injection, inject = "istio.io/rev", "istio-injection", "sidecar.istio.io/inject"
	notFalse := require(inject, metav1.LabelSelectorOpNotIn, "false")
	neither := []metav1.LabelSelectorRequirement{require(rev, metav1.LabelSelectorOpDoesNotExist), require(injection, metav1.LabelSelectorOpDoesNotExist)}
	rows := []struct {
		prefix              string
		namespaces, objects []metav1.LabelSelectorRequirement
	}{
		{"rev.namespace", requirements(require(rev, metav1.LabelSelectorOpIn, answersTo), require(injection, metav1.LabelSelectorOpDoesNotExist)), requirements(notFalse)},
		{"rev.object", neither, requirements(notFalse, require(rev, metav1.LabelSelectorOpIn, answersTo))},
		{"namespace", requirements(require(injection, metav1.LabelSelectorOpIn, "enabled")), requirements(notFalse)},
		{"object", neither, requirements(require(inject, metav1.LabelSelectorOpIn, "true"), require(rev, metav1.LabelSelectorOpDoesNotExist))},
	}
	if answersTo != "default" {
		rows = rows[:2]
	}
	var webhooks []admissionregistrationv1.MutatingWebhook
	for _, row := range rows {
		e := w.entry(row.prefix+".sidecar-injector.istio.io", istioNamespace, "istiod", "/inject")
		e.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: row.namespaces}
		e.ObjectSelector = &metav1.LabelSelector{MatchExpressions: row.objects}
		if w.Deactivated {
			e.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"istio.io/deactivated": "never-match"}}
		}
		webhooks = append(webhooks, e)
	}
	c := w.make(name, "Never", webhooks...)
	c.Labels = map[string]string{"app": "sidecar-injector", rev: revision}
	if w.Tag != "" {
		c.Labels["istio.io/tag"] = w.Tag
	}
	return c
}

func requirements(r ...metav1.LabelSelectorRequirement) []metav1.LabelSelectorRequirement { return r }

func require(key string, op metav1.LabelSelectorOperator, values ...string) metav1.LabelSelectorRequirement {
	return metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: values}
}
