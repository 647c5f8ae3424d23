package diagnose

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/vaultinjector"
)

const (
	istioMutating   = "MutatingWebhookConfiguration/istio-sidecar-injector"
	istioValidating = "ValidatingWebhookConfiguration/istio-validator-istio-system"
	// stale is a configuration of a revision that nobody looks after, so that faults in it stay.
	stale    = "MutatingWebhookConfiguration/istio-sidecar-injector-stale"
	orphaned = "HF231 " + stale + " warning: Service istio-system/istiod leads to revision default, which does not look after this configuration"
)

// TestInjectors goes through the faults of a neighbour with the real istiod, in a network of its own behind its Service. The
// last ones end it.
func TestInjectors(t *testing.T) {
	ctx := t.Context()
	host, err := controlplane.NewHost(ctx, "istiod")
	if err != nil {
		t.Fatal(err)
	}
	istiod, err := shared.cluster.StartIstiod(ctx, controlplane.IstioOptions{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := istiod.Uninstall(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := shared.cluster.CreateNamespace(ctx, "meshed", map[string]string{"istio-injection": "enabled"}); err != nil {
		t.Fatal(err)
	}
	n := &neighbour{suite: shared, host: host, istiod: istiod}
	t.Run("nothing is wrong", n.fine)
	t.Run("the command asks too", n.command)
	t.Run("a leftover revision", n.leftover)
	t.Run("no CA bundle", n.noBundle)
	t.Run("the CA bundle of another", n.otherBundle)
	t.Run("a URL that does not resolve", n.unresolved)
	t.Run("a Service without the port", n.noPort)
	t.Run("a default beside the default", n.duplicate)
	t.Run("the port is dropped", n.dropped)
	t.Run("the port is rejected", n.rejected)
	t.Run("a firewall that fails open", n.failsOpen)
	t.Run("calls that failed are counted", n.counted)
	t.Run("an agent that fails open", n.agent)
	t.Run("istiod has ended", n.ended)
	t.Run("no endpoints", n.noEndpoints)
}

type neighbour struct {
	*suite
	host   *controlplane.Host
	istiod *controlplane.Istiod
}

// subject asks with an administrator's rights. Inside it seems to be the server, which alone is in the cluster.
func (n *neighbour) subject(t *testing.T, inside bool) *diagnose.Subject {
	t.Helper()
	config := n.cluster.Config()
	s, err := diagnose.Connect(config, diagnose.Own{Namespace: n.installation.Namespace(), Service: "holdfast", Port: 9443}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.Catalogue = injectors.NewCatalogue(injectors.Builtin()...)
	s.AsCaller(config)
	if inside {
		s.Server = &diagnose.Server{
			Replica: "test", Certificate: func() (*tls.Certificate, error) { return nil, errors.New("none here") },
			Unread: func() (waiting, missing []string) { return nil, nil },
		}
	}
	return s
}

// wants are "CODE OBJECT state: words of the message or the fix", for all that is not in order.
func (n *neighbour) settle(t *testing.T, s *diagnose.Subject, wants ...string) []diagnose.Line {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		r := diagnose.Run(t.Context(), s)
		var lines []diagnose.Line
		for i := range r.Probes {
			if r.Probes[i].Group == "injectors" {
				lines = append(lines, r.Probes[i])
			}
		}
		wrong := differences(lines, wants)
		if r.Seconds > 15 {
			t.Errorf("took %.1f s, want at most 15 s", r.Seconds)
		}
		if len(wrong) == 0 {
			t.Log(text(&diagnose.Report{Probes: worth(lines)}))
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v\n%s", wrong, text(&diagnose.Report{Probes: lines}))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// worth leaves out what passed or was skipped.
func worth(lines []diagnose.Line) []diagnose.Line {
	return slices.DeleteFunc(slices.Clone(lines), func(l diagnose.Line) bool {
		return l.State == diagnose.Passed || l.State == diagnose.Skipped || l.State == diagnose.NotApplicable
	})
}

func differences(lines []diagnose.Line, wants []string) []string {
	var wrong []string
	wanted := map[string]bool{}
	for _, want := range wants {
		parts := strings.SplitN(want, " ", 3)
		state, words, _ := strings.Cut(parts[2], ": ")
		wanted[parts[0]+" "+parts[1]] = true
		if !slices.ContainsFunc(lines, func(l diagnose.Line) bool {
			return l.Code == parts[0] && l.Object == parts[1] && string(l.State) == state && strings.Contains(l.Message+"\n"+l.Effect+"\n"+l.Fix, words)
		}) {
			wrong = append(wrong, "no "+want)
		}
	}
	for _, l := range worth(lines) {
		if !wanted[l.Code+" "+l.Object] {
			wrong = append(wrong, l.Code+" "+l.Object+" "+string(l.State))
		}
	}
	return wrong
}

func (n *neighbour) fine(t *testing.T) {
	lines := n.settle(t, n.subject(t, true),
		"HF231 "+istioMutating+" passed: Istio, revision default; failurePolicy Fail",
		"HF233 "+istioMutating+" passed: 443 to 15017 of the pods",
		"HF236 "+istioMutating+" passed: "+n.host.Addr().String()+":15017",
		"HF238 "+istioMutating+" passed: Istio acted on a dry-run pod in namespace meshed",
		"HF236 "+istioValidating+" passed: :15017",
	)
	t.Log(text(&diagnose.Report{Probes: lines}))
}

// command runs the program itself, and asks the server, which has the shipped rights and no others. The server is on a host from
// which istiod's need not be reachable.
func (n *neighbour) command(t *testing.T) {
	for who, r := range map[string]*diagnose.Report{"holdfast diagnose": n.diagnose(t), "the server": n.asked(t)} {
		for _, code := range []string{"HF231", "HF232", "HF233", "HF234", "HF235", "HF237", "HF238", "HF239"} {
			at := slices.IndexFunc(r.Probes, func(l diagnose.Line) bool { return l.Code == code && l.Object == istioMutating })
			if at < 0 {
				t.Errorf("%s: %s about %s: got nothing", who, code, istioMutating)
				continue
			}
			want := diagnose.Passed
			if code == "HF238" && who == "the server" {
				want = diagnose.NotApplicable
			}
			if l := &r.Probes[at]; l.State != want {
				t.Errorf("%s: %s: got %s, want %s: %s", who, code, l.State, want, l.Message)
			}
		}
	}
}

// stale registers a copy of istiod's configuration, for revision stale, with a change.
func (n *neighbour) stale(t *testing.T, change func(*admissionregistrationv1.MutatingWebhook)) {
	t.Helper()
	remove, err := n.istiod.RegisterStale(t.Context(), change)
	check(t, err)
	t.Cleanup(func() {
		if err := remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

func (n *neighbour) leftover(t *testing.T) {
	n.stale(t, func(w *admissionregistrationv1.MutatingWebhook) { w.ClientConfig.Service.Name = "istiod-stale" })
	n.settle(t, n.subject(t, true),
		"HF231 "+stale+" failed: revision stale: mutatingwebhookconfiguration/istio-sidecar-injector-stale calls Service istio-system/istiod-stale, which does not exist",
		"HF231 "+stale+" failed: kubectl delete mutatingwebhookconfiguration/istio-sidecar-injector-stale")
}

func (n *neighbour) noBundle(t *testing.T) {
	n.stale(t, func(w *admissionregistrationv1.MutatingWebhook) { w.ClientConfig.CABundle = nil })
	n.settle(t, n.subject(t, true), orphaned, "HF235 "+stale+" failed: all 2 entries have no caBundle", "HF235 "+stale+" failed: Do what HF231 says above: istiod then puts its CA in by itself.")
}

// otherBundle is seen from inside by what istiod presents, and by the API server's own words from elsewhere.
func (n *neighbour) otherBundle(t *testing.T) {
	other, err := vaultinjector.NewCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	n.stale(t, func(w *admissionregistrationv1.MutatingWebhook) { w.ClientConfig.CABundle = other.CABundle })
	n.settle(t, n.subject(t, true), orphaned, "HF236 "+stale+" failed: the caBundle of all 2 entries of mutatingwebhookconfiguration/istio-sidecar-injector-stale is ")
	n.settle(t, n.subject(t, false), orphaned,
		"HF236 "+istioMutating+" unknown: ", "HF236 "+istioValidating+" unknown: ", "HF236 "+stale+" unknown: ",
		"HF238 "+stale+" failed: the API server does not accept the certificate", "HF238 "+stale+" failed: x509: certificate signed by unknown authority")
}

func (n *neighbour) unresolved(t *testing.T) {
	n.stale(t, func(w *admissionregistrationv1.MutatingWebhook) {
		url := "https://istiod.holdfast.invalid/inject"
		w.ClientConfig.Service, w.ClientConfig.URL = nil, &url
	})
	n.settle(t, n.subject(t, true), "HF232 "+stale+" failed: host istiod.holdfast.invalid does not resolve")
	n.settle(t, n.subject(t, false),
		"HF236 "+istioMutating+" unknown: ", "HF236 "+istioValidating+" unknown: ", "HF236 "+stale+" unknown: ",
		"HF232 "+stale+" warning: does not resolve (no such host), asked from the machine on which this runs", "HF238 "+stale+" failed: the API server cannot resolve the name in https://istiod.holdfast.invalid/inject")
}

func (n *neighbour) noPort(t *testing.T) {
	n.stale(t, func(w *admissionregistrationv1.MutatingWebhook) {
		port := int32(8443)
		w.ClientConfig.Service.Port = &port
	})
	n.settle(t, n.subject(t, true), orphaned, "HF233 "+stale+" failed: calls port 8443 of Service istio-system/istiod, which has only 15010, 15012, 443, 15014")
}

func (n *neighbour) duplicate(t *testing.T) {
	n.stale(t, func(w *admissionregistrationv1.MutatingWebhook) {
		w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"istio-injection": "enabled"}}
		w.ObjectSelector = nil
	})
	n.settle(t, n.subject(t, true), orphaned, "HF237 "+stale+" warning: namespace meshed are sent to mutatingwebhookconfiguration/istio-sidecar-injector and to")
}

// firewall has istiod's machine treat connections to 15017 so; it is gone at the end of the test, or when the function is called.
func (n *neighbour) firewall(t *testing.T, verdict string) (open func()) {
	t.Helper()
	nft := func(ctx context.Context, rule ...string) {
		if out, err := n.host.Command(ctx, "nft", rule...).CombinedOutput(); err != nil {
			t.Fatalf("nft %v: %v: %s", rule, err, out)
		}
	}
	nft(t.Context(), "add table inet holdfast; add chain inet holdfast in { type filter hook input priority 0; }; add rule inet holdfast in tcp dport 15017 "+verdict)
	closed := true
	open = func() {
		if closed {
			nft(context.WithoutCancel(t.Context()), "delete table inet holdfast")
		}
		closed = false
	}
	t.Cleanup(open)
	return open
}

const noAnswer = "gets no answer from port 15017 of the pods of Service istio-system/istiod"

func (n *neighbour) dropped(t *testing.T) {
	n.firewall(t, "drop")
	at := n.host.Addr().String() + ":15017"
	n.settle(t, n.subject(t, true),
		"HF236 "+istioMutating+" warning: no answer from "+at, "HF236 "+istioValidating+" warning: no answer from "+at,
		"HF238 "+istioMutating+" failed: "+noAnswer, "HF238 "+istioMutating+" failed: failed calling webhook", "HF238 "+istioMutating+" failed: Do what HF236 says above")
}

func (n *neighbour) rejected(t *testing.T) {
	n.firewall(t, "reject with tcp reset")
	at := n.host.Addr().String() + ":15017"
	n.settle(t, n.subject(t, true), "HF236 "+istioMutating+" failed: "+at+" refuses the connection", "HF236 "+istioValidating+" failed: refuses")
	n.settle(t, n.subject(t, false), "HF236 "+istioMutating+" unknown: ", "HF236 "+istioValidating+" unknown: ",
		"HF238 "+istioMutating+" failed: nothing listens at port 15017 of the pods of Service istio-system/istiod, or a firewall rejects", "HF238 "+istioMutating+" failed: connection refused")
}

// counted has only the server's means: it creates nothing, and sees that calls fail while it can connect itself.
func (n *neighbour) counted(t *testing.T) {
	server := n.subject(t, true)
	server.TryPod = nil
	n.call(t, true)
	n.settle(t, server, "HF239 "+istioMutating+" passed: no call failed in the last", "HF238 "+istioMutating+" not-applicable: holdfast diagnose tries it")
	open := n.firewall(t, "reject with tcp reset")
	n.call(t, false)
	open()
	n.settle(t, server, "HF239 "+istioMutating+" failed: calls failed in the last", "HF239 "+istioMutating+" failed: TCP 15017")
	n.call(t, true)
	n.settle(t, server, "HF239 "+istioMutating+" passed: no call failed in the last")
}

// call has the API server call istiod until the outcome is the wanted one.
func (n *neighbour) call(t *testing.T, succeeds bool) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "called-", Namespace: "meshed"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}}}
	deadline := time.Now().Add(40 * time.Second)
	for {
		_, err := n.client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if (err == nil) == succeeds {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("call istiod: got %v, want success %t", err, succeeds)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (n *neighbour) ended(t *testing.T) {
	n.istiod.Stop()
	n.settle(t, n.subject(t, true), "HF236 "+istioMutating+" failed: refuses the connection", "HF236 "+istioValidating+" failed: refuses the connection")
}

// noEndpoints: the Deployment has no replicas in a cluster without nodes, and nothing else stands behind the Service any more.
func (n *neighbour) noEndpoints(t *testing.T) {
	if err := n.cluster.Unexpose(t.Context(), controlplane.IstioNamespace, "istiod"); err != nil {
		t.Fatal(err)
	}
	n.settle(t, n.subject(t, true), "HF234 "+istioMutating+" failed: Service istio-system/istiod (Istio) has no ready endpoint: Deployment istiod is scaled to 0", "HF234 "+istioValidating+" failed: no ready endpoint")
}

// failsOpen: with failurePolicy Ignore the API server says nothing, and the pod comes back as it was.
func (n *neighbour) failsOpen(t *testing.T) {
	n.ignore(t, admissionregistrationv1.Ignore)
	t.Cleanup(func() { n.ignore(t, admissionregistrationv1.Fail) })
	n.settle(t, n.subject(t, true), "HF231 "+istioMutating+" passed: failurePolicy Ignore", "HF238 "+istioMutating+" passed: Istio acted")
	n.pod(t)
	open := n.firewall(t, "reject with tcp reset")
	n.settle(t, n.subject(t, false), "HF236 "+istioMutating+" unknown: ", "HF236 "+istioValidating+" unknown: ",
		"HF238 "+istioMutating+" failed: nothing listens at port 15017", "HF238 "+istioMutating+" failed: nobody gets an error", "HF238 "+istioMutating+" failed: error trying to reach service")
	open()
	n.settle(t, n.subject(t, true), "HF238 "+istioMutating+" passed: Istio acted")
}

// pod is what the API server's proxy wants to see before it connects: a pod with the address, in the Endpoints.
func (n *neighbour) pod(t *testing.T) {
	t.Helper()
	ctx, at := t.Context(), n.host.Addr().String()
	pods := n.client.CoreV1().Pods(controlplane.IstioNamespace)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "istiod-0"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "discovery", Image: "pilot"}}}}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		now := int64(0)
		if err := pods.Delete(context.WithoutCancel(ctx), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Error(err)
		}
	})
	status := `{"status":{"podIP":"` + at + `","podIPs":[{"ip":"` + at + `"}]}}`
	if _, err := pods.Patch(ctx, pod.Name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	endpoints := `{"subsets":[{"addresses":[{"ip":"` + at + `","targetRef":{"kind":"Pod","namespace":"` + controlplane.IstioNamespace + `","name":"` + pod.Name + `"}}],` +
		`"ports":[{"name":"https-webhook","port":15017}]}]}`
	if err := n.client.CoreV1().RESTClient().Patch(types.MergePatchType).Namespace(controlplane.IstioNamespace).Resource("endpoints").Name("istiod").
		Body([]byte(endpoints)).Do(ctx).Error(); err != nil {
		t.Fatal(err)
	}
}

// agent is Vault's injector, which fails open, acts on request alone, and is called by URL: the API server's counter is all
// that tells of a failure.
func (n *neighbour) agent(t *testing.T) {
	ctx := t.Context()
	vault, err := (vaultinjector.Injector{}).Start(ctx, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := (vaultinjector.Injector{}).Objects(vaultinjector.Registration{Name: "vault-agent-injector-cfg", URL: vault.URL, CABundle: vault.CABundle})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := vaultinjector.YAML(objects)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cluster.Apply(ctx, stream); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = vault.Close()
		if err := n.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(context.WithoutCancel(ctx), "vault-agent-injector-cfg", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	const object = "MutatingWebhookConfiguration/vault-agent-injector-cfg"
	n.settle(t, n.subject(t, true), "HF231 "+object+" passed: failurePolicy Ignore", "HF238 "+object+" passed: Vault acted on a dry-run pod",
		"HF236 "+object+" not-applicable: own machine")
	if err := vault.Close(); err != nil {
		t.Fatal(err)
	}
	n.settle(t, n.subject(t, true), "HF238 "+object+" failed: fail_open_count has grown", "HF238 "+object+" failed: start without what it adds")
}

// ignore sets failurePolicy of istiod's entries.
func (n *neighbour) ignore(t *testing.T, policy admissionregistrationv1.FailurePolicyType) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	configurations := n.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	c, err := configurations.Get(ctx, n.istiod.WebhookName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var patch []map[string]any
	for i := range c.Webhooks {
		patch = append(patch, map[string]any{"op": "replace", "path": "/webhooks/" + string(rune('0'+i)) + "/failurePolicy", "value": policy})
	}
	data, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := configurations.Patch(ctx, c.Name, types.JSONPatchType, data, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
