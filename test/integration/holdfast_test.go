package integration

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/truth"
)

// noRemedies is a configuration in which Holdfast may only refuse.
const noRemedies = `
remedies: {hold: false, start-first: false, restore-sidecar: false, reorder: false, exempt-identity: false, exempt-address: false, exempt-port: false}
`

// TestRows makes every pod of the truth table under Holdfast: enforced, audited, and enforced without any remedy.
func TestRows(t *testing.T) {
	s := shared
	for name, m := range map[string]config.Mode{"enforced": config.Enforce, "audited": config.Audit} {
		s.namespace(t, name, map[string]string{config.ModeLabel: m.String()})
	}
	s.namespace(t, "plain", nil)
	for _, m := range modes() {
		t.Run(m[0].Mode(), func(t *testing.T) {
			s.istio(t, mode(m[0]))
			t.Run("as shipped", func(t *testing.T) {
				s.holdfast(t, "")
				for _, row := range m {
					t.Run(row.String(), func(t *testing.T) { s.row(t, row) })
				}
			})
			t.Run("without remedies", func(t *testing.T) {
				s.holdfast(t, noRemedies)
				for _, row := range m {
					t.Run(row.String(), func(t *testing.T) { s.unremedied(t, row) })
				}
			})
		})
	}
}

// wanted are the remedies that a row needs, and no more.
func wanted(row truth.Row) string {
	var names []string
	if !row.Native {
		names = append(names, config.Hold)
	}
	switch row.Number {
	case 1, 14:
		names = append(names, config.Reorder)
	case 5, 6, 7, 8:
		names = append(names, config.ExemptAddress)
	}
	return strings.Join(names, ",")
}

func (s *suite) row(t *testing.T, row truth.Row) {
	plain := s.admitted(t, web("plain", row.InitFirst))
	if got := order(plain); got != row.Order {
		t.Errorf("without Holdfast: got %s, want %s", got, row.Order)
	}
	s.judge(t, plain, row.Verdicts())
	if s.rig != nil {
		s.judge(t, plain, s.kernel(t, plain))
	}

	fixed := s.admitted(t, web("enforced", row.InitFirst))
	if got := fixed.Annotations[mutators.AppliedAnnotation]; got != wanted(row) {
		t.Errorf("remedies: got %q, want %q; init containers: %s", got, wanted(row), order(fixed))
	}
	if wanted(row) == "" {
		if diff := cmp.Diff(normal(t, plain), normal(t, fixed)); diff != "" {
			t.Errorf("a pod that needs nothing was changed (-without +with Holdfast):\n%s", diff)
		}
	}
	if s.rig != nil {
		letters := s.kernel(t, fixed)
		if letters[1] == 'X' || letters[2] == 'X' {
			t.Errorf("migrate, vault-agent-init, app: got %s: Vault's container and the app must connect", letters)
		}
		s.judge(t, fixed, letters)
	}

	pod := web("audited", row.InitFirst)
	pod.Name = "row-" + strconv.Itoa(row.Number) // an event of its own in the audit log
	audited := s.admitted(t, pod)
	audited.Name = "web"
	if diff := cmp.Diff(normal(t, plain), normal(t, audited)); diff != "" {
		t.Errorf("audit mode changed the pod (-without +with Holdfast):\n%s", diff)
	}
	s.record(t, row)
}

// record checks the one record that audit mode leaves: what enforce mode would have done.
func (s *suite) record(t *testing.T, row truth.Row) {
	event, err := s.cluster.WaitAuditEvent(t.Context(), controlplane.AuditQuery{Verb: "create", Resource: "pods", Namespace: "audited", Name: "row-" + strconv.Itoa(row.Number)})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for key, value := range event.Annotations {
		if webhook, name, ok := strings.Cut(key, "/"); ok && strings.HasPrefix(webhook, "pods.validate.") {
			got[name] = value
		}
	}
	if got["remedies"] != wanted(row) {
		t.Errorf("audit record: remedies %q, want %q (%v)", got["remedies"], wanted(row), got)
	}
	decision := "admitted"
	if wanted(row) != "" {
		decision = "would-change"
	}
	if got["decision"] != decision {
		t.Errorf("audit record: decision %q, want %q", got["decision"], decision)
	}
}

func (s *suite) unremedied(t *testing.T, row truth.Row) {
	_, err := s.dryRun(t.Context(), web("enforced", row.InitFirst))
	switch {
	case row.Stuck() && !apierrors.IsForbidden(err):
		t.Errorf("got %v, want a refusal", err)
	case row.Stuck():
		t.Log(err)
		if !strings.Contains(err.Error(), `HF101 Pod/web: "vault-agent-init"`) {
			t.Errorf("refusal %q does not name the container", err)
		}
		status := apierrors.APIStatus(nil)
		if s, ok := err.(apierrors.APIStatus); ok {
			status = s
		}
		if status == nil || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 || status.Status().Details.Causes[0].Type != "HF101" {
			t.Errorf("refusal carries no cause HF101: %#v", err)
		}
	case err != nil:
		t.Errorf("got %v, want the pod admitted", err)
	}
}

func (s *suite) admitted(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	out, err := s.dryRun(t.Context(), pod)
	if err != nil {
		t.Fatalf("%s: %v", pod.Namespace, err)
	}
	return out
}

// judge holds the plan of a finished pod against letters: the measured ones, or the kernel's.
func (s *suite) judge(t *testing.T, pod *corev1.Pod, letters string) {
	t.Helper()
	env := &injectors.Env{Catalogue: injectors.NewCatalogue(injectors.Builtin()...)}
	p := injectors.New(injectors.PodTarget(pod, &injectors.Namespace{Name: pod.Namespace}), env, injectors.Fact)
	to := injectors.Endpoint{Host: "vault.vault.svc", Port: 8200, Addrs: []netip.Addr{vaultAddress}}
	got := map[string]string{}
	for _, list := range [][]injectors.Step{p.Inits, p.Mains} {
		for i := range list {
			got[list[i].Name] = map[injectors.State]string{injectors.Open: "D", injectors.Cut: "X", injectors.Meshed: "P", injectors.Unclear: "?"}[p.Network(&list[i], to)]
		}
	}
	if plan := got["migrate"] + got["vault-agent-init"] + got["app"]; plan != letters {
		t.Errorf("the plan says %s, the kernel %s (%s)", plan, letters, order(pod))
	}
}

// normal is a pod without what differs from one creation to the next, or from one namespace to the other.
func normal(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	pod = pod.DeepCopy()
	pod.UID, pod.CreationTimestamp, pod.ManagedFields, pod.ResourceVersion = "", metav1.Time{}, nil, ""
	data, err := json.MarshalIndent(pod, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`).ReplaceAllString(string(data), "kube-api-access")
	text = regexp.MustCompile(`row-[0-9]+`).ReplaceAllString(text, "web")
	return strings.ReplaceAll(text, pod.Namespace, "NAMESPACE")
}
