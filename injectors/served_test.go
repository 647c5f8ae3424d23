package injectors_test

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"holdfast.dev/holdfast/injectors"
)

// TestServed asks which of its ports the API server calls: by a Service that selects the pod, on the port behind the one that
// is registered.
func TestServed(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"app": "hook", "tier": "a"}
	for _, test := range []struct {
		name     string
		selector map[string]string
		port     corev1.ServicePort
		want     string
	}{
		{"by number", map[string]string{"app": "hook"}, corev1.ServicePort{Port: 443, TargetPort: intstr.FromInt32(9443)}, "9443"},
		{"by name", map[string]string{"app": "hook"}, corev1.ServicePort{Port: 443, TargetPort: intstr.FromString("webhook")}, "10250"},
		{"by the name of a sidecar's", map[string]string{"app": "hook"}, corev1.ServicePort{Port: 443, TargetPort: intstr.FromString("side")}, "10251"},
		{"the Service's own", map[string]string{"app": "hook"}, corev1.ServicePort{Port: 443}, "443"},
		{"another port of the Service", map[string]string{"app": "hook"}, corev1.ServicePort{Port: 8443, TargetPort: intstr.FromInt32(9443)}, ""},
		{"a name that the pod does not have", map[string]string{"app": "hook"}, corev1.ServicePort{Port: 443, TargetPort: intstr.FromString("other")}, ""},
		{"other pods", map[string]string{"app": "other"}, corev1.ServicePort{Port: 443}, ""},
		{"a label that the pod lacks", map[string]string{"app": "hook", "zone": ""}, corev1.ServicePort{Port: 443}, ""},
		{"no selector", nil, corev1.ServicePort{Port: 443}, ""},
		{"another protocol", map[string]string{"app": "hook"}, corev1.ServicePort{Port: 443, Protocol: corev1.ProtocolUDP}, ""},
	} {
		e := env()
		e.Services = func(namespace, name string) (injectors.Service, bool) {
			return injectors.Service{Selector: test.selector, Ports: injectors.ServicePorts([]corev1.ServicePort{test.port})}, namespace == "shop" && name == "hook"
		}
		e.Webhooks = func(namespace string) []injectors.WebhookService {
			if namespace != "shop" {
				return nil
			}
			return []injectors.WebhookService{
				{Configuration: "a", Service: "gone", Port: 443}, {Configuration: "b", Service: "hook", Port: 443}, {Configuration: "c", Service: "hook", Port: 443},
			}
		}
		var got []string
		for _, s := range injectors.New(labelled(labels), e, injectors.Fact).Served() {
			got = append(got, fmt.Sprint(s.Port))
			if s.Webhook.Configuration != "b" {
				t.Errorf("%s: got webhook %s, want the first one of that port", test.name, s.Webhook.Configuration)
			}
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s: got port %q, want %q", test.name, got, test.want)
		}
	}
	if got := injectors.New(labelled(labels), env(), injectors.Fact).Served(); got != nil {
		t.Errorf("where nothing is known: got %v, want nothing", got)
	}
}

func TestDeclaredPorts(t *testing.T) {
	t.Parallel()
	for protocol, want := range map[string]bool{
		"": false, "tcp": true, "TCP": true, "tcp-nats": true, "mysql": true, "tls-x": true, "linkerd.io/opaque": true, "nats": false, "http": false, "grpc": false,
		"kubernetes.io/h2c": false, "tcpx": false,
	} {
		p := injectors.ServicePort{Port: 4222, Protocol: protocol}
		if got := p.Declared(); got != want {
			t.Errorf("%q: got declared %v, want %v", protocol, got, want)
		}
		e := env()
		e.ServicesIn = func(namespace string) iter.Seq[injectors.Service] {
			if namespace != "shop" {
				return slices.Values([]injectors.Service(nil))
			}
			return slices.Values([]injectors.Service{
				{Selector: map[string]string{"app": "other"}, Ports: []injectors.ServicePort{{Port: 4222, Protocol: "tcp"}}},
				{Selector: map[string]string{"app": "hook"}, Ports: []injectors.ServicePort{{Port: 4000, Protocol: "tcp"}, p}},
			})
		}
		e.Services = func(string, string) (injectors.Service, bool) {
			return injectors.Service{Ports: []injectors.ServicePort{p}}, true
		}
		plan := injectors.New(labelled(map[string]string{"app": "hook"}), e, injectors.Fact)
		if got := plan.Declares(4222); got != injectors.TriOf(want) {
			t.Errorf("%q: got declared for the pod %v, want %v", protocol, got, want)
		}
		if got := plan.DeclaresThere(injectors.Endpoint{Host: "nats.shop.svc", Port: 4222}); got != injectors.TriOf(want) {
			t.Errorf("%q: got declared at the destination %v, want %v", protocol, got, want)
		}
		if a, b := plan.Declares(4223), plan.DeclaresThere(injectors.Endpoint{Host: "nats.shop.svc", Port: 4223}); a != injectors.Unknown || b != injectors.Unknown {
			t.Errorf("%q: another port: got %v and %v, want unknown", protocol, a, b)
		}
	}
	p := injectors.New(labelled(nil), &injectors.Env{Catalogue: env().Catalogue}, injectors.Fact)
	if a, b := p.Declares(1), p.DeclaresThere(injectors.Endpoint{Host: "a", Port: 1}); a != injectors.Unknown || b != injectors.Unknown {
		t.Errorf("where no Service can be read: got %v and %v, want unknown", a, b)
	}
}

// labelled is a pod in shop with two named ports.
func labelled(labels map[string]string) *injectors.Target {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "hook", Labels: labels}}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 8080}, {Name: "webhook", ContainerPort: 10250}}}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "side", Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 10251}}}}
	return injectors.PodTarget(pod, &injectors.Namespace{Name: "shop"})
}
