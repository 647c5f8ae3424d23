package vaultinjector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// webhookPort is where the real injector listens, injector.port in its chart.
const webhookPort = 8080

// Object is any Kubernetes object; every client takes it.
type Object interface {
	metav1.Object
	runtime.Object
}

// Registration is how an API server comes to know an injector.
type Registration struct {
	// Name of the MutatingWebhookConfiguration. It decides the call order: "0-a-vault"
	// runs before Istio, the default "vault-agent-injector-cfg" after it.
	Name string
	// Namespace of the injector and the secret store; empty means the product's name.
	Namespace string
	// URL to call instead of the injector's Service.
	URL string
	// Endpoint to put behind the injector's Service, which then has no selector: for
	// an injector that runs outside the cluster, at an address that is not loopback.
	Endpoint netip.AddrPort
	// CABundle verifies the injector's certificate.
	CABundle []byte
	// ClusterIP to request for the secret store; empty means 10.96.7.7.
	ClusterIP string
}

func (p product) injectorName() string { return p.name + "-agent-injector" }

func (p product) injectorService() string { return p.injectorName() + "-svc" }

// labels are the chart's, with the release named after the product.
func (p product) labels(name string) map[string]string {
	return map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/instance": p.name}
}

func (p product) withDefaults(r Registration) Registration {
	r.Name = orElse(r.Name, p.injectorName()+"-cfg")
	r.Namespace = orElse(r.Namespace, p.name)
	r.ClusterIP = orElse(r.ClusterIP, "10.96.7.7")
	return r
}

// Objects returns what the chart installs, as far as others look at it, in an order in
// which it can be created: namespace, the secret store's Service, the injector's
// Service (with an EndpointSlice if it has an endpoint), its Deployment with no
// replicas, and the webhook configuration.
func (i Injector) Objects(r Registration) ([]Object, error) {
	p, err := i.product()
	if err != nil {
		return nil, err
	}
	r = p.withDefaults(r)
	objects := []Object{
		&corev1.Namespace{
			TypeMeta:   typeMeta("v1", "Namespace"),
			ObjectMeta: metav1.ObjectMeta{Name: r.Namespace},
		},
		p.store(r),
		p.service(r),
	}
	if r.Endpoint.IsValid() {
		objects = append(objects, p.endpointSlice(r))
	}
	return append(objects, i.deployment(p, r), p.configuration(r)), nil
}

// YAML writes objects as one stream for kubectl, without the fields that only an API
// server fills.
func YAML(objects []Object) ([]byte, error) {
	var out bytes.Buffer
	for _, o := range objects {
		raw, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", o.GetName(), err)
		}
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			return nil, fmt.Errorf("decode %s: %w", o.GetName(), err)
		}
		delete(fields, "status")
		text, err := yaml.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("write %s as YAML: %w", o.GetName(), err)
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return out.Bytes(), nil
}

// store is the Service that the agents dial.
func (p product) store(r Registration) *corev1.Service {
	selector := p.labels(p.name)
	selector["component"] = "server"
	return &corev1.Service{
		TypeMeta:   typeMeta("v1", "Service"),
		ObjectMeta: metav1.ObjectMeta{Name: p.name, Namespace: r.Namespace, Labels: p.labels(p.name)},
		Spec: corev1.ServiceSpec{
			ClusterIP: r.ClusterIP,
			Selector:  selector,
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 8200, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8200)},
			},
		},
	}
}

func (p product) service(r Registration) *corev1.Service {
	target := intstr.FromInt32(webhookPort)
	selector := p.webhookLabels()
	if r.Endpoint.IsValid() {
		target, selector = intstr.FromInt32(int32(r.Endpoint.Port())), nil
	}
	return &corev1.Service{
		TypeMeta:   typeMeta("v1", "Service"),
		ObjectMeta: metav1.ObjectMeta{Name: p.injectorService(), Namespace: r.Namespace, Labels: p.labels(p.injectorName())},
		Spec: corev1.ServiceSpec{
			Selector: selector,
			Ports:    []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP, TargetPort: target}},
		},
	}
}

func (p product) webhookLabels() map[string]string {
	labels := p.labels(p.injectorName())
	labels["component"] = "webhook"
	return labels
}

func (p product) endpointSlice(r Registration) *discoveryv1.EndpointSlice {
	family := discoveryv1.AddressTypeIPv4
	if r.Endpoint.Addr().Unmap().Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	return &discoveryv1.EndpointSlice{
		TypeMeta: typeMeta("discovery.k8s.io/v1", "EndpointSlice"),
		ObjectMeta: metav1.ObjectMeta{
			Name:      p.injectorService(),
			Namespace: r.Namespace,
			Labels:    map[string]string{discoveryv1.LabelServiceName: p.injectorService()},
		},
		AddressType: family,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{r.Endpoint.Addr().Unmap().String()},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
		}},
		Ports: []discoveryv1.EndpointPort{{
			Name: new("https"), Port: new(int32(r.Endpoint.Port())), Protocol: ptr.To(corev1.ProtocolTCP),
		}},
	}
}

// deployment has no replicas: it is there to be read, for its label and environment.
func (i Injector) deployment(p product, r Registration) *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta: typeMeta("apps/v1", "Deployment"),
		ObjectMeta: metav1.ObjectMeta{
			Name: p.injectorName(), Namespace: r.Namespace, Labels: p.webhookLabels(),
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(0)),
			Selector: &metav1.LabelSelector{MatchLabels: p.webhookLabels()},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: p.webhookLabels()},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name:  "sidecar-injector",
					Image: p.injectorImage,
					Args:  []string{"agent-inject"},
					Env:   i.commandLine(p),
				}}},
			},
		},
	}
}

// commandLine is the environment in which the real one finds its settings.
func (i Injector) commandLine(p product) []corev1.EnvVar {
	env := []corev1.EnvVar{
		{Name: "AGENT_INJECT_LISTEN", Value: fmt.Sprintf(":%d", webhookPort)},
		{Name: "AGENT_INJECT_VAULT_ADDR", Value: i.address(p)},
		{Name: "AGENT_INJECT_VAULT_AUTH_PATH", Value: "auth/kubernetes"},
		{Name: "AGENT_INJECT_VAULT_IMAGE", Value: orElse(i.Image, p.image)},
	}
	if i.ProxyAddress != "" {
		env = append(env, corev1.EnvVar{Name: "AGENT_INJECT_PROXY_ADDR", Value: i.ProxyAddress})
	}
	if i.NoSecurityContext {
		env = append(env, corev1.EnvVar{Name: "AGENT_INJECT_SET_SECURITY_CONTEXT", Value: "false"})
	}
	return env
}

// configuration sets no reinvocation policy, as the chart sets none: it is Never.
func (p product) configuration(r Registration) *admissionregistrationv1.MutatingWebhookConfiguration {
	client := admissionregistrationv1.WebhookClientConfig{CABundle: r.CABundle}
	if r.URL != "" {
		client.URL = new(r.URL)
	} else {
		client.Service = &admissionregistrationv1.ServiceReference{
			Name: p.injectorService(), Namespace: r.Namespace, Path: new(mutatePath), Port: new(int32(443)),
		}
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta:   typeMeta("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
		ObjectMeta: metav1.ObjectMeta{Name: r.Name, Labels: p.labels(p.injectorName())},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    PrefixVault, // OpenBao's chart has kept it (openbao-helm 0.28.0, templates/injector-mutating-webhook.yaml)
			ClientConfig:            client,
			FailurePolicy:           ptr.To(admissionregistrationv1.Ignore),
			MatchPolicy:             ptr.To(admissionregistrationv1.Exact),
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds:          new(int32(30)),
			AdmissionReviewVersions: []string{"v1"},
			NamespaceSelector:       &metav1.LabelSelector{},
			ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: "app.kubernetes.io/name", Operator: metav1.LabelSelectorOpNotIn, Values: []string{p.injectorName()},
			}}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule: admissionregistrationv1.Rule{
					APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
					Scope: ptr.To(admissionregistrationv1.NamespacedScope),
				},
			}},
		}},
	}
}

func typeMeta(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}
