package repair

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/vaultinjector"
)

const (
	istioMutating   = "istio-sidecar-injector"
	istioValidating = "istio-validator-istio-system"
	// stale is a configuration of a revision that nobody looks after, so that faults in it stay.
	stale         = istioMutating + "-stale"
	vaultMutating = "vault-agent-injector-cfg"
)

// injectorFaults are those of the neighbours.
func injectorFaults() []fault {
	const orphaned = "HF231 warning " + stale
	return []fault{
		{name: "a leftover revision", causes: []string{"HF231 failed " + stale}, says: "calls Service istio-system/istiod-stale, which does not exist", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.stale(t, func(w *admissionregistrationv1.MutatingWebhook) { w.ClientConfig.Service.Name = "istiod-stale" })
		}},
		{name: "a configuration without a CA bundle", causes: []string{orphaned, "HF235 failed " + stale}, says: "does not look after this configuration", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.stale(t, func(w *admissionregistrationv1.MutatingWebhook) { w.ClientConfig.CABundle = nil })
		}},
		{name: "the CA bundle of another", causes: []string{orphaned, "HF236 failed " + stale}, says: "does not look after this configuration", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.stale(t, func(w *admissionregistrationv1.MutatingWebhook) { w.ClientConfig.CABundle = another(t).Bundle() })
		}},
		{name: "a URL that does not resolve", causes: []string{"HF232 failed " + stale}, says: "istiod.holdfast.invalid does not resolve (no such host), asked from a pod", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.stale(t, func(w *admissionregistrationv1.MutatingWebhook) {
				url := "https://istiod.holdfast.invalid/inject"
				w.ClientConfig.Service, w.ClientConfig.URL = nil, &url
			})
		}},
		{name: "a port that the Service of istiod lacks", causes: []string{orphaned, "HF233 failed " + stale}, names: "HF233 failed " + stale, says: "8443", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.stale(t, func(w *admissionregistrationv1.MutatingWebhook) {
				port := int32(8443)
				w.ClientConfig.Service.Port = &port
			})
		}},
		{name: "a default beside the default", causes: []string{orphaned, "HF237 warning " + stale}, names: "HF237 warning " + stale, harmless: true, does: func(t *testing.T, s *suite) {
			t.Helper()
			s.stale(t, func(w *admissionregistrationv1.MutatingWebhook) {
				w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"istio-injection": "enabled"}}
				w.ObjectSelector = nil
			})
		}},
		{name: "istiod scaled to none", causes: []string{"HF234 failed " + istioMutating, "HF234 failed " + istioValidating}, says: "Deployment istiod is scaled to 0", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patchIstiod(t, `[{"op":"replace","path":"/spec/replicas","value":0}]`)
			t.Cleanup(func() { s.patchIstiod(t, `[{"op":"replace","path":"/spec/replicas","value":1}]`) })
		}},
		{name: "the Service of istiod leads elsewhere", causes: []string{"HF233 failed " + istioMutating, "HF233 failed " + istioValidating}, says: "leads to port 15999 of the pods", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.istiodPort(t, 15999)
			t.Cleanup(func() { s.istiodPort(t, 15017) })
		}},
		{name: "an agent's injector that takes 30 s", causes: []string{"HF236 failed " + vaultMutating}, says: "takes connections and answers nothing", does: slowVault, undo: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(t.Context(), vaultMutating, metav1.DeleteOptions{}))
		}},
		{name: "istiod's port is dropped", causes: []string{"HF238 failed " + istioMutating}, says: "15017", mute: true, does: func(t *testing.T, s *suite) {
			t.Helper()
			s.firewall(t, controlplane.IstioNamespace, "app=istiod", 15017, "drop")
		}, undo: openFirewall},
		{name: "istiod's port is rejected", causes: []string{"HF238 failed " + istioMutating}, says: "15017", mute: true, does: func(t *testing.T, s *suite) {
			t.Helper()
			s.firewall(t, controlplane.IstioNamespace, "app=istiod", 15017, "reject with tcp reset")
		}, undo: openFirewall},
	}
}

// stale registers a copy of istiod's configuration, for revision stale, with a change.
func (s *suite) stale(t *testing.T, change func(*admissionregistrationv1.MutatingWebhook)) {
	t.Helper()
	remove, err := s.istiod.RegisterStale(t.Context(), change)
	check(t, err)
	t.Cleanup(func() {
		if err := remove(context.WithoutCancel(t.Context())); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}

// TestWorkloadsOfALeftover: the command that lists who asks for a revision by a label of its own names them, and nobody else.
func TestWorkloadsOfALeftover(t *testing.T) {
	s := shared
	template := func(labels string) string {
		return `{"metadata":{"labels":{"app":"x"` + labels + `}},"spec":{"restartPolicy":"%s","containers":[{"name":"c","image":"c"}]}}`
	}
	always := func(labels string) string { return fmt.Sprintf(template(labels), "Always") }
	never := func(labels string) string { return fmt.Sprintf(template(labels), "Never") }
	const asks = `,"istio.io/rev":"stale"`
	objects := []string{
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"asks","namespace":"shop"},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"x"}},"template":` + always(asks) + `}}`,
		`{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"asks","namespace":"shop"},"spec":{"replicas":0,"serviceName":"x","selector":{"matchLabels":{"app":"x"}},"template":` + always(asks) + `}}`,
		`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"asks","namespace":"shop"},"spec":{"suspend":true,"schedule":"0 0 1 1 *","jobTemplate":{"spec":{"template":` + never(asks) + `}}}}`,
		`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"asks","namespace":"shop"},"spec":{"suspend":true,"template":` + never(asks) + `}}`,
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"silent","namespace":"shop"},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"x"}},"template":` + always("") + `}}`,
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"another","namespace":"shop"},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"x"}},"template":` + always(`,"istio.io/rev":"default"`) + `}}`,
	}
	all := `{"apiVersion":"v1","kind":"List","items":[` + strings.Join(objects, ",") + `]}`
	s.settle(t)
	s.shell(t, "echo '"+all+"' | kubectl apply -f -")
	t.Cleanup(func() { s.shell(t, "echo '"+all+"' | kubectl delete -f -") })
	s.stale(t, func(w *admissionregistrationv1.MutatingWebhook) { w.ClientConfig.Service.Name = "istiod-stale" })
	fix := line(s.settle(t, "HF231 failed "+stale), "HF231", stale).Fix
	for l := range strings.SplitSeq(fix, "\n") {
		if !strings.HasPrefix(l, "kubectl get deploy,") {
			continue
		}
		want := "Deployment\tshop/asks\nStatefulSet\tshop/asks\nCronJob\tshop/asks\nJob\tshop/asks\n"
		if got := s.shell(t, l); got != want {
			t.Errorf("%s\ngot\n%swant\n%s", l, got, want)
		}
		return
	}
	t.Errorf("nothing lists them:\n%s", fix)
}

// shell runs a line as somebody types it, and returns what it prints.
func (s *suite) shell(t *testing.T, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", line)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.cluster.Kubeconfig(), "HOME="+os.TempDir(), "PATH="+s.programs+":"+os.Getenv("PATH"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, stderr.String())
	}
	return string(out)
}

func (s *suite) patchIstiod(t *testing.T, patch string) {
	t.Helper()
	_, err := s.client.AppsV1().Deployments(controlplane.IstioNamespace).Patch(context.WithoutCancel(t.Context()), "istiod", types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	check(t, err)
}

// istiodPort has the Service lead its webhook port to a port of the pods.
func (s *suite) istiodPort(t *testing.T, port int32) {
	t.Helper()
	ctx, services := context.WithoutCancel(t.Context()), s.client.CoreV1().Services(controlplane.IstioNamespace)
	service, err := services.Get(ctx, "istiod", metav1.GetOptions{})
	check(t, err)
	for i := range service.Spec.Ports {
		if service.Spec.Ports[i].Port == 443 {
			service.Spec.Ports[i].TargetPort.IntVal = port
		}
	}
	_, err = services.Update(ctx, service, metav1.UpdateOptions{})
	check(t, err)
}

// slowVault is Vault's injector, outside of the cluster, as it is where its own secret store hangs: it takes connections, and 30
// seconds for an answer.
func slowVault(t *testing.T, s *suite) {
	t.Helper()
	const name = "vault-agent-injector-svc.vault.svc"
	ca := another(t)
	issued, err := ca.Issue(name, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	check(t, err)
	served, err := tls.X509KeyPair(issued.Certificate, issued.Key)
	check(t, err)
	machine, err := controlplane.NewHost(t.Context(), "vault")
	check(t, err)
	listener, err := machine.Listen(t.Context(), "tcp", ":8080")
	check(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{served}, MinVersion: tls.VersionTLS12}}
	server.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(30 * time.Second):
		case <-r.Context().Done():
		}
	})
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		_ = server.Close()
		check(t, machine.Close())
	})
	objects, err := (vaultinjector.Injector{}).Objects(vaultinjector.Registration{
		Name: vaultMutating, Endpoint: netip.AddrPortFrom(machine.Addr(), 8080), CABundle: ca.Bundle(),
	})
	check(t, err)
	stream, err := vaultinjector.YAML(objects)
	check(t, err)
	check(t, s.cluster.Apply(t.Context(), stream))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, vaultMutating, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}
