package knowledge_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"holdfast.dev/holdfast/diagnose/knowledge"
	"holdfast.dev/holdfast/report"
)

// TestRows holds that every problem that explain is to answer has an entry. The rows are those of the list of problems that Holdfast
// was made for, by the system where they were met; the entries' own examples show that they recognise the real texts.
func TestRows(t *testing.T) {
	t.Parallel()
	b := base(t)
	for _, c := range []struct {
		row     string
		entries []string
	}{
		{"Anthos Service Mesh: how to tell that the app started before the proxy", []string{"app-refused", "proxy-not-ready"}},
		{"Anthos Service Mesh: how to tell that Vault's init container is stuck behind the redirect", []string{"agent-refused", "agent-timeout", "init-waiting"}},

		{"Cloud Service Mesh: discovery address wrong", []string{"no-healthy-upstream"}},
		{"Cloud Service Mesh: Envoy proxy is NOT ready, config not received or rejected", []string{
			"config-not-received", "config-incomplete", "listeners-rejected", "clusters-rejected", "all-rejected",
		}},
		{"Cloud Service Mesh: calling a webhook times out", []string{"webhook-timeout", "webhook-slow", "webhook-tls-timeout"}},
		{"Cloud Service Mesh: no endpoints available for service", []string{"webhook-no-endpoints"}},
		{"Cloud Service Mesh: Service not found", []string{"webhook-no-service"}},
		{"Cloud Service Mesh: certificate signed by unknown authority", []string{"certificate-unknown-authority", "certificate-renewed-authority"}},
		{"Cloud Service Mesh: the webhook configuration has been modified, or is left over", []string{"webhook-conflict"}},

		{"Traffic Director: pods do not start on a private cluster", []string{"webhook-timeout"}},
		{"Traffic Director: FailedCreate on the ReplicaSet, nothing in get pods", []string{"failed-create"}},
		{"Traffic Director: server-first protocols", []string{"server-first"}},
		{"Traffic Director: access log not writable", []string{"access-log-denied"}},
		{"Traffic Director: configuration was not found for network", []string{"network-not-found", "stream-closed-5"}},
		{"Traffic Director: VM bootstrap states and heartbeat", []string{
			"bootstrap-failed", "bootstrap-in-progress", "bootstrap-finished", "agent-heartbeat", "agent-failure", "director-unreachable",
		}},

		{"Managed Anthos Service Mesh: stop reasons and conditions of a ControlPlaneRevision", []string{
			"revision-not-gke", "revision-name", "revision-namespace", "revision-channel", "revision-channel-missing", "revision-type", "revision-kubernetes",
			"revision-workload-identity", "revision-workload-pool", "revision-project", "revision-update-failed", "revision-stalled",
			"revision-not-stalled", "revision-reconciled", "revision-not-reconciled", "revision-unhealthy",
		}},
		{"Managed Anthos Service Mesh: another URL than expected", []string{"webhook-url-drift"}},
		{"Managed Anthos Service Mesh: an error on the server (unknown)", []string{"webhook-unknown-error", "connect-gateway-disabled"}},
		{"Managed Anthos Service Mesh: dataplane-upgrade=failed, NEEDS_ATTENTION", []string{"dataplane-upgrade-failed"}},
		{"Managed Anthos Service Mesh: states of the data plane", []string{
			"dataplane-active", "dataplane-disabled", "dataplane-precondition", "dataplane-provisioning", "dataplane-stalled",
		}},
		{"Managed Anthos Service Mesh: installer errors", []string{"installer-container", "installer-identity"}},

		{"App Mesh: CannotPullContainerError", []string{"envoy-image-denied"}},
		{"App Mesh: Envoy cannot connect to the management service", []string{"management-unreachable", "management-reachable", "stream-closed-14"}},
		{"App Mesh: gRPC config stream closed", []string{
			"stream-closed", "stream-closed-0", "stream-closed-3", "stream-closed-7", "stream-closed-8", "stream-closed-13", "stream-closed-16",
		}},
		{"App Mesh: Envoy is not LIVE", []string{"state-initializing", "state-draining", "state-live"}},
		{"App Mesh: the load balancer's health checks fail", []string{"load-balancer-checks"}},
		{"App Mesh: a virtual gateway does not listen on a port of 1024 or less", []string{"bind-denied", "updates-rejected"}},

		{"users: the API server cannot reach the webhook", []string{
			"webhook-timeout", "webhook-refused", "webhook-eof", "webhook-reset", "webhook-no-route", "webhook-address-not-allowed", "webhook-tunnel",
			"webhook-unavailable", "webhook-unknown-host", "webhook-not-tls", "webhook-no-service-port", "webhook-wrong-path", "webhook-server-error", "webhook-call",
		}},
		{"users: certificates", []string{
			"certificate-expired", "certificate-not-yet-valid", "certificate-out-of-date", "certificate-other-name", "certificate-common-name", "certificate-refused",
		}},
		{"users: another webhook strips restartPolicy", []string{"restart-policy-lost"}},
		{"users: pods that wait in Init", []string{"init-waiting", "init-crash", "pod-initializing", "redirect-missing", "linkerd-redirect-missing", "redirect-not-permitted", "cni-failed", "names-refused"}},
	} {
		for _, name := range c.entries {
			if _, ok := b.About(name); !ok {
				t.Errorf("%s: got no entry %s", c.row, name)
			}
		}
	}
}

// TestSeveral explains a text in which several things go wrong, some of them more than once.
func TestSeveral(t *testing.T) {
	t.Parallel()
	const events = `NAMESPACE   LAST SEEN   TYPE      REASON         OBJECT                 MESSAGE
shop        2m          Warning   FailedCreate   replicaset/web-6d4cf   Error creating: Internal error occurred: failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": no endpoints available for service "istiod"
shop        1m          Warning   FailedCreate   replicaset/api-7f8b9   Error creating: Internal error occurred: failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": no endpoints available for service "istiod"
shop        1m          Normal    Pulled         pod/db-0               Container image "postgres" already present on machine
shop        50s         Warning   FailedCreate   replicaset/job-x       Error creating: admission webhook "pods.validate.holdfast.dev" denied the request: HF101 ReplicaSet/job-x: "vault-agent-init" (initContainers[1]) needs the network
shop        40s         Warning   FailedCreate   replicaset/old         Error creating: admission webhook "check.example.com" denied the request: no
vault       10s         Warning   FailedCreate   replicaset/v           Error creating: Internal error occurred: failed calling webhook "vault.hashicorp.com": failed to call webhook: Post "https://vault-agent-injector-svc.vault.svc:443/mutate?timeout=30s": context deadline exceeded
`
	topics := []report.Topic{{Code: "HF101", Name: "late-dialer", Title: "T", Why: "W.", Fix: "F."}}
	found := base(t).Explain(events, topics)
	type row struct {
		Entry, Service, Target string
		Times                  int
	}
	var got []row
	for i := range found {
		got = append(got, row{found[i].Entry, found[i].Values["service"], found[i].Values["target"], found[i].Times})
	}
	want := []row{
		{"webhook-no-endpoints", "istiod", "15017", 2}, {"HF101", "", "", 1}, {"webhook-denied", "", "", 1}, {"webhook-timeout", "vault-agent-injector-svc", "8080", 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestForms explains one text as terminals, logs and documents write it.
func TestForms(t *testing.T) {
	t.Parallel()
	const text = `failed calling webhook "validation.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/validate?timeout=10s": EOF`
	for name, form := range map[string]string{
		"as it is":         text,
		"JSON log":         `{"level":"error","msg":"reconcile","error":"Internal error occurred: ` + strings.ReplaceAll(text, `"`, `\"`) + `"}`,
		"log in a log":     `err="` + strings.ReplaceAll(text, `"`, `\\\"`) + `"`,
		"colours":          "\x1b[31mError\x1b[0m: " + strings.ReplaceAll(text, "webhook", "\x1b[1mwebhook\x1b[0m"),
		"wrapped":          strings.ReplaceAll(text, " ", "\r\n    "),
		"curly quotes":     strings.Replace(strings.Replace(text, `"`, "“", 1), `"`, "”", 1),
		"hard spaces":      strings.ReplaceAll(text, " ", "\u00a0"),
		"among rubbish":    "\x00\xff\xfe" + text + "\x01\x02",
		"after megabyte 0": strings.Repeat("x\n", 1<<18) + text,
	} {
		found := base(t).Explain(form, nil)
		if len(found) != 1 || found[0].Entry != "webhook-eof" || found[0].Values["service"] != "istiod" || found[0].Values["path"] != "/validate" {
			t.Errorf("%s: got %v, want webhook-eof for istiod", name, found)
		}
	}
	if found := base(t).Explain(strings.Repeat(" ", knowledge.MaxText)+text, nil); len(found) != 0 {
		t.Errorf("got %v, want nothing from behind the limit", names(found))
	}
}

// TestCommandsAreSafe holds that a text cannot write commands: what is found in it stands in them only if it is a plain word.
func TestCommandsAreSafe(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"a; rm -rf /", "$(reboot)", "`reboot`", "a|b", "-o=yaml", "a b", "a>b", "a&b", "a'b"} {
		found := base(t).Explain(`no endpoints available for service "`+service+`"`, nil)
		for i := range found {
			for _, command := range found[i].Next {
				if strings.Contains(command, service) {
					t.Errorf("got command %q, want no %q in it", command, service)
				}
			}
		}
	}
}

// TestLongLines holds that a long line of long characters is not cut within one.
func TestLongLines(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		line := strings.Repeat("é", 3000) + strings.Repeat("x", n)
		for _, text := range []string{line + " 1/2 NotReady 0 5m", "Error creating: " + line} {
			found := base(t).Explain(text, nil)
			if len(found) != 1 || !utf8.ValidString(found[0].Text) || utf8.RuneCountInString(found[0].Text) > 300 {
				t.Errorf("%d: got %+v, want one explanation with a valid text", n, found)
			}
		}
	}
}
