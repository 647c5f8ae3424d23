package diagnose

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"holdfast.dev/holdfast/injectors"
)

// TestBundleAgain: injectors differ in who puts their CA in, and in where it is kept.
func TestBundleAgain(t *testing.T) {
	t.Parallel()
	const put = `test -n "$ca" && kubectl patch mutatingwebhookconfiguration/x --type=json -p '[{"op":"test","path":"/webhooks/0/name","value":"x.example.com"},{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"'"$ca"'"}]'`
	tests := []struct {
		name        string
		injector    *injectors.Injector
		deployment  *appsv1.Deployment
		annotations map[string]string
		want        string
	}{
		{
			name: "Vault's injector does it itself", injector: injectors.Vault(),
			deployment: made("vault-agent-injector", map[string]string{"app.kubernetes.io/name": "vault-agent-injector"}, ""),
			want: steps("Deployment vault-agent-injector puts it in whenever it starts:", "kubectl -n tools rollout restart deploy/vault-agent-injector",
				"If that does not help, its log says why:", "kubectl -n tools logs deploy/vault-agent-injector --tail=50"),
		},
		{
			name: "Linkerd's chart has made a certificate that signs itself", injector: injectors.Linkerd(),
			deployment:  made("linkerd-proxy-injector", nil, "linkerd-proxy-injector-k8s-tls"),
			annotations: map[string]string{"meta.helm.sh/release-name": "linkerd", "meta.helm.sh/release-namespace": "tools"},
			want: steps("Put in the CA of the certificate in Secret tools/linkerd-proxy-injector-k8s-tls:",
				`ca=$(kubectl -n tools get secret linkerd-proxy-injector-k8s-tls -o jsonpath='{.data.tls\.crt}')`, put,
				"Helm release tools/linkerd wrote the configuration: no caBundle may stand in what it writes, or the next upgrade brings that back."),
		},
		{
			name: "Consul has a program for that", injector: injectors.Consul(),
			deployment: made("consul-webhook-cert-manager", map[string]string{"component": "webhook-cert-manager"}, ""),
			want: steps("Deployment consul-webhook-cert-manager puts it in whenever it starts:", "kubectl -n tools rollout restart deploy/consul-webhook-cert-manager",
				"If that does not help, its log says why:", "kubectl -n tools logs deploy/consul-webhook-cert-manager --tail=50"),
		},
		{
			name: "nobody knows", injector: injectors.Dapr(), deployment: made("dapr-sidecar-injector", nil, ""),
			want: "Have the installer of Dapr put its CA in again.",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "injector"}, Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": test.deployment.Name}, Ports: []corev1.ServicePort{{Port: 443}},
			}}
			s := &Subject{
				Client: fake.NewClientset(service, test.deployment), Now: time.Now, Catalogue: injectors.NewCatalogue(injectors.Builtin()...), seen: newSeen(t.Context()),
			}
			e := &Entry{Mutating: true, Configuration: "x", Annotations: test.annotations, ValidatingWebhook: admissionregistrationv1.ValidatingWebhook{
				Name: "x.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "tools", Name: "injector"}},
			}}
			n := &neighbour{injector: test.injector, title: test.injector.Title, entries: []*Entry{e}}
			n.all = &neighbourhood{list: []*neighbour{n}}
			r := Result{Fix: s.bundleAgain(t.Context(), n, n.entries, nil)}
			checkFix(t, &r)
			if diff := cmp.Diff(test.want, r.Fix); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// made is a Deployment whose pods have a Secret.
func made(name string, labels map[string]string, secret string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: name, Labels: labels}}
	d.Spec.Template.Labels = map[string]string{"app": name}
	if secret != "" {
		d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
	}
	return d
}
