package injectors_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/injectors"
)

// wish is a pod, or the pod of a template, that asks for something, or does not.
type wish struct {
	injector            *injectors.Injector
	labels, annotations map[string]string
	namespace           metav1.ObjectMeta
	generated           bool   // the API server makes the pod's name
	template            string // the kind of the workload, "" for a pod
	hostNetwork         bool
	account             string
	asked               injectors.Tri
	muddles             []string
}

func (a wish) target() *injectors.Target {
	meta := metav1.ObjectMeta{Name: "web", Labels: a.labels, Annotations: a.annotations}
	if a.generated {
		meta.Name, meta.GenerateName = "", "web-"
	}
	t := &injectors.Target{
		Kind: "Pod", Name: meta.Name, Meta: &meta,
		Spec:      &corev1.PodSpec{HostNetwork: a.hostNetwork, ServiceAccountName: a.account, Containers: []corev1.Container{{Name: "app"}}},
		Namespace: &injectors.Namespace{Name: "shop", Labels: a.namespace.Labels, Annotations: a.namespace.Annotations},
	}
	if a.template != "" {
		t.Kind, t.Workload = a.template, &metav1.ObjectMeta{Name: "web"}
	}
	return t
}

// TestAsks tells who asked for the injections of Dapr, OpenTelemetry and what clouds and monitoring bring, and how that can be
// muddled.
func TestAsks(t *testing.T) {
	type set = map[string]string
	const (
		java   = "instrumentation.opentelemetry.io/inject-java"
		python = "instrumentation.opentelemetry.io/inject-python"
		names  = "instrumentation.opentelemetry.io/container-names"
		proxy  = "azure.workload.identity/inject-proxy-sidecar"
		use    = "azure.workload.identity/use"
		role   = "eks.amazonaws.com/role-arn"
	)
	for name, a := range map[string]wish{
		"dapr: nobody":             {injector: injectors.Dapr()},
		"dapr: yes":                {injector: injectors.Dapr(), annotations: set{"dapr.io/enabled": "true", "dapr.io/app-id": "web"}, generated: true, asked: injectors.Yes},
		"dapr: yes otherwise":      {injector: injectors.Dapr(), annotations: set{"dapr.io/enabled": "On", "dapr.io/app-id": "web"}, asked: injectors.Yes},
		"dapr: no":                 {injector: injectors.Dapr(), annotations: set{"dapr.io/enabled": "no"}, asked: injectors.No},
		"dapr: the pod has a name": {injector: injectors.Dapr(), annotations: set{"dapr.io/enabled": "true"}, asked: injectors.Yes},
		"dapr: no app id": {
			injector: injectors.Dapr(), annotations: set{"dapr.io/enabled": "true"}, generated: true, asked: injectors.Yes,
			muddles: []string{`annotation dapr.io/enabled without dapr.io/app-id: Dapr takes the pod's name, which is not made yet, and denies the pod. Annotate the template: dapr.io/app-id: "NAME"`},
		},
		"dapr: no app id in a template": {
			injector: injectors.Dapr(), annotations: set{"dapr.io/enabled": "true"}, template: "Deployment", asked: injectors.Yes,
			muddles: []string{`annotation dapr.io/enabled without dapr.io/app-id: Dapr takes the pod's name, which is not made yet, and denies the pod. Annotate the template: dapr.io/app-id: "NAME"`},
		},
		"dapr: names of a StatefulSet's pods are made by it": {injector: injectors.Dapr(), annotations: set{"dapr.io/enabled": "true"}, template: "StatefulSet", asked: injectors.Yes},
		"dapr: a label": {
			injector: injectors.Dapr(), labels: set{"dapr.io/enabled": "true"},
			muddles: []string{`label dapr.io/enabled is read by nobody: Dapr reads the annotation of that name. Annotate the template: dapr.io/enabled: "true"`},
		},

		"opentelemetry: nobody":         {injector: injectors.OpenTelemetry()},
		"opentelemetry: a collector":    {injector: injectors.OpenTelemetry(), annotations: set{"sidecar.opentelemetry.io/inject": "my-collector"}, asked: injectors.Yes},
		"opentelemetry: no":             {injector: injectors.OpenTelemetry(), annotations: set{java: "False"}, asked: injectors.No},
		"opentelemetry: no, and yes":    {injector: injectors.OpenTelemetry(), annotations: set{java: "false", python: "true"}, asked: injectors.Yes},
		"opentelemetry: the namespace":  {injector: injectors.OpenTelemetry(), namespace: metav1.ObjectMeta{Annotations: set{java: "true"}}, asked: injectors.Yes},
		"opentelemetry: the pod has it": {injector: injectors.OpenTelemetry(), annotations: set{java: "true"}, namespace: metav1.ObjectMeta{Annotations: set{java: "false"}}, asked: injectors.Yes},
		"opentelemetry: not the pod":    {injector: injectors.OpenTelemetry(), annotations: set{java: "false"}, namespace: metav1.ObjectMeta{Annotations: set{java: "other/java"}}, asked: injectors.No},
		"opentelemetry: a space": {
			injector: injectors.OpenTelemetry(), annotations: set{java: "true", names: "app, worker"}, asked: injectors.Yes,
			muddles: []string{`annotation instrumentation.opentelemetry.io/container-names: "app, worker" has more in it than letters, digits, dashes and commas: nothing is instrumented. Write instrumentation.opentelemetry.io/container-names: "app,worker"`},
		},
		"opentelemetry: a space where nobody asks": {injector: injectors.OpenTelemetry(), annotations: set{names: "app, worker"}},

		"azure: nobody":          {injector: injectors.AzureWorkloadIdentity()},
		"azure: yes":             {injector: injectors.AzureWorkloadIdentity(), labels: set{use: "true"}, annotations: set{proxy: "true"}, asked: injectors.Yes},
		"azure: any other value": {injector: injectors.AzureWorkloadIdentity(), labels: set{use: "True"}, asked: injectors.No},
		"azure: no label": {
			injector: injectors.AzureWorkloadIdentity(), annotations: set{proxy: "true"},
			muddles: []string{`annotation azure.workload.identity/inject-proxy-sidecar does nothing without label azure.workload.identity/use=true: the webhook is not called. Label the template: azure.workload.identity/use: "true"`},
		},
		"azure: the annotation's value": {
			injector: injectors.AzureWorkloadIdentity(), labels: set{use: "true"}, annotations: set{proxy: "false"}, asked: injectors.Yes,
			muddles: []string{`annotation azure.workload.identity/inject-proxy-sidecar: "false" asks for the proxy all the same: its value is not read. Remove the annotation, or write azure.workload.identity/inject-proxy-sidecar: "true"`},
		},
		"azure: host network": {
			injector: injectors.AzureWorkloadIdentity(), labels: set{use: "true"}, annotations: set{proxy: "true"}, hostNetwork: true, asked: injectors.Yes,
			muddles: []string{"annotation azure.workload.identity/inject-proxy-sidecar on a pod with hostNetwork: the webhook denies the pod. Remove the annotation azure.workload.identity/inject-proxy-sidecar."},
		},

		"eks: nobody": {injector: injectors.EKS()},
		"eks: no":     {injector: injectors.EKS(), labels: set{"eks.amazonaws.com/skip-pod-identity-webhook": ""}, asked: injectors.No},
		"eks: a role on the pod": {
			injector: injectors.EKS(), annotations: set{role: "arn:aws:iam::111122223333:role/web"}, account: "web",
			muddles: []string{`annotation eks.amazonaws.com/role-arn is read on ServiceAccounts alone: on a pod it does nothing. Annotate ServiceAccount web: eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/web"`},
		},

		"datadog: nobody": {injector: injectors.Datadog(), annotations: set{"admission.datadoghq.com/java-lib.version": "v1"}},
		"datadog: yes":    {injector: injectors.Datadog(), labels: set{"admission.datadoghq.com/enabled": "true"}, asked: injectors.Yes},
		"datadog: no":     {injector: injectors.Datadog(), labels: set{"admission.datadoghq.com/enabled": "false"}, asked: injectors.No},
		"datadog: no, and a library": {
			injector: injectors.Datadog(), labels: set{"admission.datadoghq.com/enabled": "false"}, asked: injectors.No,
			annotations: set{"admission.datadoghq.com/python-lib.version": "v3", "admission.datadoghq.com/java-lib.version": "v1"},
			muddles:     []string{`annotation admission.datadoghq.com/java-lib.version and label admission.datadoghq.com/enabled=false: the label has Datadog's webhooks not called. Label the template: admission.datadoghq.com/enabled: "true"`},
		},

		"instana: nobody":            {injector: injectors.Instana()},
		"instana: yes":               {injector: injectors.Instana(), labels: set{"instana-autotrace": "true"}, asked: injectors.Yes},
		"instana: no":                {injector: injectors.Instana(), labels: set{"instana-autotrace": "false"}, namespace: metav1.ObjectMeta{Labels: set{"instana-autotrace": "true"}}, asked: injectors.No},
		"instana: the namespace":     {injector: injectors.Instana(), namespace: metav1.ObjectMeta{Labels: set{"instana-autotrace": "true"}}, asked: injectors.Yes},
		"instana: not the namespace": {injector: injectors.Instana(), namespace: metav1.ObjectMeta{Labels: set{"instana-autotrace": "false"}}, asked: injectors.No},
	} {
		t.Run(name, func(t *testing.T) {
			target := a.target()
			if got := a.injector.Asked(target); got != a.asked {
				t.Errorf("asked: got %v, want %v", got, a.asked)
			}
			var got []string
			if a.injector.Muddle != nil {
				for _, m := range a.injector.Muddle(target) {
					got = append(got, m.What+" "+m.Fix)
				}
			}
			if diff := cmp.Diff(a.muddles, got); diff != "" {
				t.Errorf("muddles (-want +got):\n%s", diff)
			}
			for _, m := range got {
				if n := len([]rune(m)); n > 256 && !strings.Contains(m, "arn:") {
					t.Errorf("%d characters, more than 256 of which a client may see none: %s", n, m)
				}
			}
		})
	}
}
