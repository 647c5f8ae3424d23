package repair

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/test/authority"
	"holdfast.dev/holdfast/test/controlplane"
)

// fault is something that goes wrong, what is said of it, and how it is repaired.
type fault struct {
	name string
	does func(t *testing.T, s *suite)
	// causes are those that the command names, "CODE state [object]", and says is in the message of the first, or of names.
	causes []string
	names  string
	says   string
	// server are the causes that the server itself names, where they differ; mute where it cannot be asked.
	server []string
	mute   bool
	// undo is what a person does whom the lines send elsewhere than to kubectl; nil where the commands of the fix are all.
	undo func(t *testing.T, s *suite)
	// harmless faults need no repair tonight, and the lines say so: what is to be done is left to the person.
	harmless bool
}

const (
	ourMutating   = "0-holdfast"
	ourValidating = "holdfast"
)

// TestFaults breaks one thing at a time.
func TestFaults(t *testing.T) {
	for _, f := range append(faults(), injectorFaults()...) {
		t.Run(f.name, func(t *testing.T) { shared.provoke(t, f) })
	}
}

// provoke breaks something, holds what is said of it, and repairs it by that.
func (s *suite) provoke(t *testing.T, f fault) {
	s.settle(t)
	t.Cleanup(func() { s.mend(t) })
	f.does(t, s)
	r := s.settle(t, f.causes...)
	if r.Seconds > 15 {
		t.Errorf("it took %.1f s, want at most 15", r.Seconds)
	}
	cause := f.names
	if cause == "" {
		cause = f.causes[0]
	}
	parts := append(strings.SplitN(cause, " ", 3), "", "")
	l := line(r, parts[0], parts[2])
	if !strings.Contains(l.Message, f.says) {
		t.Errorf("%s: got %q, want %q in it", l.Code, l.Message, f.says)
	}
	t.Logf("%s %s %s\n%s\n%s\n%s", l.Code, l.Name, l.Object, l.Message, l.Effect, l.Fix)
	if !f.mute {
		want := f.server
		if want == nil {
			want = f.causes
		}
		s.serverSays(t, want...)
	}
	switch {
	case *hand != "":
		s.byHand(t, f)
	case f.harmless:
	case f.undo != nil:
		f.undo(t, s)
		s.settle(t)
	default:
		s.repair(t, l.Fix)
		s.settle(t)
	}
}

// serverSays waits until the server's own report has these causes, and returns it.
func (s *suite) serverSays(t *testing.T, want ...string) *diagnose.Report {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		r, err := s.asked(t)
		if err == nil && slices.Equal(causes(r), want) {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("/diagnosis: got %v (%v), want %v", causes(r), err, want)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// asked is what one of the servers says itself.
func (s *suite) asked(t *testing.T) (*diagnose.Report, error) {
	t.Helper()
	r := &diagnose.Report{}
	pods, err := s.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=holdfast"})
	if err != nil {
		return r, err
	}
	err = fmt.Errorf("there is no pod")
	for i := range pods.Items {
		var body []byte
		p := &pods.Items[i]
		if p.DeletionTimestamp != nil {
			continue
		}
		if body, err = s.client.CoreV1().Pods(ns).ProxyGet("http", p.Name, "8080", "/diagnosis", map[string]string{"fresh": ""}).DoRaw(t.Context()); err == nil {
			return r, json.Unmarshal(body, r)
		}
	}
	return r, err
}

// mend puts back what was installed, whoever has repaired what.
func (s *suite) mend(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := s.restore(ctx); err != nil {
		t.Error(err)
	}
	if err := s.cluster.ApplyObjects(ctx, s.installation.Objects()); err != nil {
		t.Error(err)
	}
	// Servers that make their own certificate write their CA into the configurations as long as they run.
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.installation.RolledOut(waiting); err != nil {
		t.Error(err)
	}
	// What a repair has made its own would stay beside what was installed.
	for _, err := range []error{
		s.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, ourMutating, metav1.DeleteOptions{}),
		s.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, ourValidating, metav1.DeleteOptions{}),
	} {
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
	if err := s.cluster.ApplyObjects(ctx, s.installation.Objects()); err != nil {
		t.Error(err)
	}
}

func (s *suite) patch(t *testing.T, mutating bool, patch string) {
	t.Helper()
	var err error
	configurations := s.client.AdmissionregistrationV1()
	if mutating {
		_, err = configurations.MutatingWebhookConfigurations().Patch(t.Context(), ourMutating, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	} else {
		_, err = configurations.ValidatingWebhookConfigurations().Patch(t.Context(), ourValidating, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	}
	check(t, err)
}

func (s *suite) patchService(t *testing.T, patch string) {
	t.Helper()
	_, err := s.client.CoreV1().Services(ns).Patch(t.Context(), "holdfast", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	check(t, err)
}

func (s *suite) patchDeployment(t *testing.T, patch string) {
	t.Helper()
	_, err := s.client.AppsV1().Deployments(ns).Patch(t.Context(), "holdfast", types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	check(t, err)
}

// pods are the names of those that a selector finds.
func (s *suite) pods(t *testing.T, namespace, selector string) []string {
	t.Helper()
	pods, err := s.client.CoreV1().Pods(namespace).List(context.WithoutCancel(t.Context()), metav1.ListOptions{LabelSelector: selector})
	check(t, err)
	var names []string
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp == nil {
			names = append(names, pods.Items[i].Name)
		}
	}
	return names
}

// caBundles writes another CA into all entries.
func (s *suite) caBundles(t *testing.T, bundle []byte) {
	t.Helper()
	for _, mutating := range []bool{true, false} {
		for i := range 5 {
			s.patch(t, mutating, fmt.Sprintf(`[{"op":"replace","path":"/webhooks/%d/clientConfig/caBundle","value":%q}]`, i, base64.StdEncoding.EncodeToString(bundle)))
		}
	}
}

func another(t *testing.T) *authority.Authority {
	t.Helper()
	a, err := authority.New("another CA")
	check(t, err)
	return a
}

func faults() []fault {
	const yesterday, months = -26 * time.Hour, 90 * 24 * time.Hour
	since := func() time.Time { return time.Now().Add(-time.Hour) }
	certify := func(name string, from, until time.Duration) func(*testing.T, *suite) {
		return func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.certify(t.Context(), s.ca, name, time.Now().Add(from), time.Now().Add(until)))
		}
	}
	// A new pair, from whoever signs certificates here.
	renew := func(t *testing.T, s *suite) {
		t.Helper()
		check(t, s.certify(t.Context(), s.ca, host, since(), time.Now().Add(months)))
	}
	return []fault{
		{name: "key of another pair", causes: []string{"HF202 failed"}, says: "does not match", does: func(t *testing.T, s *suite) {
			t.Helper()
			good, err := s.ca.Issue(host, since(), time.Now().Add(months))
			check(t, err)
			other, err := s.ca.Issue(host, since(), time.Now().Add(months))
			check(t, err)
			check(t, s.store(t.Context(), map[string][]byte{"tls.crt": good.Certificate, "tls.key": other.Key, "ca.crt": s.ca.Bundle()}))
		}},
		{name: "certificate expired", causes: []string{"HF203 failed"}, says: "expired", does: certify(host, -months, yesterday)},
		{name: "certificate not yet valid", causes: []string{"HF203 failed"}, says: "not valid before", does: certify(host, 90*time.Minute, months), undo: renew},
		{name: "certificate for another name", causes: []string{"HF203 failed"}, says: "is for other.elsewhere.svc", does: certify("other.elsewhere.svc", -time.Hour, months)},
		{name: "certificate expires soon", causes: []string{"HF203 warning"}, says: "expires", does: certify(host, -time.Hour, 73*time.Hour), undo: renew},
		{name: "certificate of another CA", causes: []string{"HF209 failed"}, says: "all 10 entries", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.certify(t.Context(), another(t), host, since(), time.Now().Add(months)))
		}},
		{name: "CA bundle missing in one entry", causes: []string{"HF209 failed"}, says: "pods.validate.holdfast.dev (validatingwebhookconfiguration/holdfast) has no caBundle", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, false, `[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`)
		}},
		{name: "CA bundle of another CA in one entry", causes: []string{"HF209 failed"}, says: "workloads.mutate.holdfast.dev (mutatingwebhookconfiguration/0-holdfast) has the caBundle of CN=another CA", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, fmt.Sprintf(`[{"op":"replace","path":"/webhooks/1/clientConfig/caBundle","value":%q}]`, base64.StdEncoding.EncodeToString(another(t).Bundle())))
		}},
		{name: "CA bundle of another CA in all entries", causes: []string{"HF209 failed"}, says: "all 10 entries", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.caBundles(t, another(t).Bundle())
		}},
		{name: "mutating webhook missing", causes: []string{"HF206 failed"}, says: "no mutating webhook configuration calls Service holdfast-system/holdfast", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(t.Context(), ourMutating, metav1.DeleteOptions{}))
		}},
		{name: "validating webhook missing", causes: []string{"HF206 failed"}, says: "no validating webhook configuration", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), ourValidating, metav1.DeleteOptions{}))
		}},
		{name: "webhook calls another Service", causes: []string{"HF206 failed"}, says: "call Service holdfast-system/other, which does not exist", does: func(t *testing.T, s *suite) {
			t.Helper()
			for i := range 5 {
				s.patch(t, false, fmt.Sprintf(`[{"op":"replace","path":"/webhooks/%d/clientConfig/service/name","value":"other"}]`, i))
			}
		}},
		{name: "path that is not ours", causes: []string{"HF207 failed"}, says: "calls path /validate, the server answers at /mutate", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, `[{"op":"replace","path":"/webhooks/0/clientConfig/service/path","value":"/validate"}]`)
		}},
		{name: "no entry for the probe", causes: []string{"HF207 warning", "HF215 unknown"}, says: "cannot be tried", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, `[{"op":"remove","path":"/webhooks/4"}]`)
		}},
		{name: "selector leaves a namespace out", causes: []string{"HF208 failed"}, says: "namespace shop", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, false, `[{"op":"add","path":"/webhooks/0/namespaceSelector/matchExpressions/-","value":{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":["shop"]}}]`)
		}},
		{name: "selector wants another label on pods", causes: []string{"HF208 failed"}, says: "check=yes", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, `[{"op":"add","path":"/webhooks/0/objectSelector","value":{"matchLabels":{"check":"yes"}}}]`)
		}},
		{name: "Service missing", causes: []string{"HF210 failed"}, says: "does not exist", does: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.client.CoreV1().Services(ns).Delete(t.Context(), "holdfast", metav1.DeleteOptions{}))
		}},
		{name: "Service leads to another port", causes: []string{"HF210 failed"}, says: "leads to port 9444 of the pods, the server listens on 9443", does: func(t *testing.T, s *suite) {
			t.Helper()
			_, err := s.client.CoreV1().Services(ns).Patch(t.Context(), "holdfast", types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/ports/0/targetPort","value":9444}]`), metav1.PatchOptions{})
			check(t, err)
		}},
		{name: "server listens on another port", causes: []string{"HF210 failed"}, says: "leads to port 9443 of the pods, the server listens on 9444", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patchDeployment(t, `[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--webhook-port=9444"}]`)
		}},
		{name: "Service without the port", causes: []string{"HF210 failed"}, says: "8443", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, `[{"op":"replace","path":"/webhooks/0/clientConfig/service/port","value":8443}]`)
		}},
		{name: "no endpoints", causes: []string{"HF201 failed"}, says: "Deployment holdfast is scaled to 0", mute: true, does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patchDeployment(t, `[{"op":"replace","path":"/spec/replicas","value":0}]`)
		}},
		{name: "selector of the Service", causes: []string{"HF211 failed"}, says: "Deployment holdfast", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patchService(t, `{"spec":{"selector":{"app.kubernetes.io/component":"admission"}}}`)
		}},
		{name: "server does not start", causes: []string{"HF201 failed"}, says: `defaultMode: Unsupported value: "nonsense"`, mute: true, does: func(t *testing.T, s *suite) {
			t.Helper()
			s.configure(t, "defaultMode: nonsense\n")
			check(t, s.client.CoreV1().Pods(ns).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=holdfast"}))
		}, undo: func(t *testing.T, s *suite) {
			t.Helper()
			s.configure(t, "")
		}},
		{name: "network policy", causes: []string{"HF212 warning"}, says: "NetworkPolicy deny lets nobody in at port 9443", does: func(t *testing.T, s *suite) {
			t.Helper()
			policies := s.client.NetworkingV1().NetworkPolicies(ns)
			_, err := policies.Create(t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny"}, Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}}}, metav1.CreateOptions{})
			check(t, err)
			t.Cleanup(func() {
				check(t, policies.DeleteCollection(context.WithoutCancel(t.Context()), metav1.DeleteOptions{}, metav1.ListOptions{}))
			})
		}},
		{name: "something else behind the Service", causes: []string{"HF214 failed"}, says: "198.18.", does: func(t *testing.T, s *suite) {
			t.Helper()
			stranger(t, s, another(t))
		}},
		{name: "a server that hangs", causes: []string{"HF214 failed"}, says: "answers no request", does: func(t *testing.T, s *suite) {
			t.Helper()
			stranger(t, s, s.ca)
		}},
		{name: "fails closed where the cluster lives", causes: []string{"HF217 warning"}, says: "has failurePolicy Fail and sees namespace kube-system", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.patch(t, true, `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"},{"op":"remove","path":"/webhooks/0/namespaceSelector/matchExpressions/0"}]`)
			s.patch(t, false, `[{"op":"remove","path":"/webhooks/0/namespaceSelector/matchExpressions/0"}]`)
		}},
		{name: "another webhook is broken", causes: []string{"HF215 unknown"}, says: "policy.example.com", does: brokenPolicy, undo: func(t *testing.T, s *suite) {
			t.Helper()
			check(t, s.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), "policy", metav1.DeleteOptions{}))
		}},
		{name: "firewall that drops", causes: []string{"HF215 failed"}, says: "the control plane gets no answer from port 9443, other pods do", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.firewall(t, ns, "app.kubernetes.io/name=holdfast", 9443, "drop")
		}, undo: openFirewall},
		{name: "firewall that rejects", causes: []string{"HF215 failed"}, says: "refused", does: func(t *testing.T, s *suite) {
			t.Helper()
			s.firewall(t, ns, "app.kubernetes.io/name=holdfast", 9443, "reject with tcp reset")
		}, undo: openFirewall},
		{name: "rights missing", causes: []string{"HF214 unknown", "HF218 failed"}, names: "HF218 failed", says: "list endpointslices.discovery.k8s.io", server: []string{"HF211 unknown", "HF214 unknown", "HF218 failed", "HF234 unknown " + istioMutating, "HF234 unknown " + istioValidating}, does: func(t *testing.T, s *suite) {
			t.Helper()
			role, err := s.client.RbacV1().ClusterRoles().Get(t.Context(), "holdfast", metav1.GetOptions{})
			check(t, err)
			for i := range role.Rules {
				if len(role.Rules[i].Resources) > 0 && role.Rules[i].Resources[0] == "endpointslices" {
					role.Rules = append(role.Rules[:i], role.Rules[i+1:]...)
					break
				}
			}
			_, err = s.client.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{})
			check(t, err)
			t.Cleanup(func() { // what the repair has made
				ctx, rbac := context.WithoutCancel(t.Context()), s.client.RbacV1()
				_ = rbac.ClusterRoleBindings().Delete(ctx, "holdfast-restored", metav1.DeleteOptions{})
				_ = rbac.ClusterRoles().Delete(ctx, "holdfast-restored", metav1.DeleteOptions{})
			})
		}},
	}
}

// configure writes another configuration into the ConfigMap that the pods have mounted; "" puts back the shipped one.
func (s *suite) configure(t *testing.T, text string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for _, o := range s.installation.Objects() {
		if o.GetKind() != "ConfigMap" {
			continue
		}
		m, err := s.client.CoreV1().ConfigMaps(ns).Get(ctx, o.GetName(), metav1.GetOptions{})
		check(t, err)
		if m.Data["config.yaml"] = text; text == "" {
			m.Data["config.yaml"] = o.Object["data"].(map[string]any)["config.yaml"].(string)
		}
		_, err = s.client.CoreV1().ConfigMaps(ns).Update(ctx, m, metav1.UpdateOptions{})
		check(t, err)
	}
}

// stranger puts something else behind the Service, by hand, which shakes hands with a certificate of the CA and never answers.
func stranger(t *testing.T, s *suite, ca *authority.Authority) {
	t.Helper()
	issued, err := ca.Issue(host, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	check(t, err)
	served, err := tls.X509KeyPair(issued.Certificate, issued.Key)
	check(t, err)
	machine, err := controlplane.NewHost(t.Context(), "stranger")
	check(t, err)
	listener, err := machine.Listen(t.Context(), "tcp", ":9555")
	check(t, err)
	t.Cleanup(func() {
		_ = listener.Close()
		check(t, machine.Close())
	})
	secure := tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{served}, MinVersion: tls.VersionTLS12})
	go func() {
		for {
			c, err := secure.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	name, port, ready := "https", int32(9555), true
	parts := s.client.DiscoveryV1().EndpointSlices(ns)
	_, err = parts.Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "holdfast-manual", Labels: map[string]string{discoveryv1.LabelServiceName: "holdfast"}}, AddressType: discoveryv1.AddressTypeIPv4,
		Ports:     []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{machine.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}, metav1.CreateOptions{})
	check(t, err)
	t.Cleanup(func() {
		if err := parts.Delete(context.WithoutCancel(t.Context()), "holdfast-manual", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}

// brokenPolicy is somebody else's webhook for ConfigMaps in our namespace, behind which nobody listens.
func brokenPolicy(t *testing.T, s *suite) {
	t.Helper()
	url, fail, none := "https://127.0.0.1:1/", admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	configurations := s.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err := configurations.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "policy"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "policy.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url}, FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}, metav1.CreateOptions{})
	check(t, err)
	t.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(t.Context()), "policy", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}
