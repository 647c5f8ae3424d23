package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

func TestModes(t *testing.T) {
	t.Parallel()
	// What the two webhooks answer to a pod that hangs and can be put right by a move.
	for mode, want := range map[string]struct {
		patched, allowed bool
		decision         string
		warnings         int
	}{
		"enforce": {patched: true, allowed: false, decision: "refused"}, // nobody applied the patch in between
		"warn":    {allowed: true, decision: "would-change", warnings: 2},
		"audit":   {allowed: true, decision: "would-change"},
		"bogus":   {allowed: true, decision: "would-change"},
		"plain":   {allowed: true, decision: "would-change"},
		"off":     {allowed: true},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, edgeOptions{})
			out := e.review(t, MutatePath, podCreation(mode, stuck(t)))
			if !out.Allowed || len(out.Patch) > 0 != want.patched || len(out.Warnings) > 0 {
				t.Errorf("mutate: got allowed %t, patch %s, warnings %q; want patched %t", out.Allowed, out.Patch, out.Warnings, want.patched)
			}
			if mode != "off" && !strings.HasSuffix(out.AuditAnnotations[auditAgain], "reorder") {
				t.Errorf("mutate: audit annotations %v name no remedy", out.AuditAnnotations)
			}
			out = e.review(t, ValidatePath, podCreation(mode, stuck(t)))
			if out.Allowed != want.allowed || out.AuditAnnotations[auditDecision] != want.decision || len(out.Warnings) != want.warnings {
				t.Errorf("validate: got allowed %t, decision %q, warnings %q; want %+v", out.Allowed, out.AuditAnnotations[auditDecision], out.Warnings, want)
			}
			if len(out.Patch) > 0 {
				t.Errorf("validate patches: %s", out.Patch)
			}
			if want.decision == "would-change" {
				if out.AuditAnnotations[auditRemedies] != "reorder" || !strings.Contains(out.AuditAnnotations[auditPatch], `"op":"move"`) {
					t.Errorf("record: %v", out.AuditAnnotations)
				}
			}
			if mode == "off" && len(out.AuditAnnotations) > 0 {
				t.Errorf("off leaves a record: %v", out.AuditAnnotations)
			}
		})
	}
}

func TestServerInAuditTouchesNothing(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{audit: true})
	for _, mode := range []string{"enforce", "warn"} {
		if out := e.review(t, MutatePath, podCreation(mode, stuck(t))); len(out.Patch) > 0 {
			t.Errorf("%s: mutate patches: %s", mode, out.Patch)
		}
		out := e.review(t, ValidatePath, podCreation(mode, stuck(t)))
		if !out.Allowed || len(out.Warnings) > 0 || out.AuditAnnotations[auditMode] != "audit" {
			t.Errorf("%s: got allowed %t, warnings %q, record %v", mode, out.Allowed, out.Warnings, out.AuditAnnotations)
		}
	}
	if out := e.review(t, ValidatePath, podCreation("off", stuck(t))); len(out.AuditAnnotations) > 0 {
		t.Errorf("off leaves a record: %v", out.AuditAnnotations)
	}
}

func TestAuditSaysWhatEnforceRefuses(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{config: noRemedies})
	refused := e.review(t, ValidatePath, podCreation("enforce", stuck(t)))
	watched := e.review(t, ValidatePath, podCreation("audit", stuck(t)))
	if refused.Allowed || !watched.Allowed {
		t.Errorf("allowed: got enforce %t, audit %t; want false, true", refused.Allowed, watched.Allowed)
	}
	if got := watched.AuditAnnotations[auditDecision]; got != "would-refuse" {
		t.Errorf("decision: got %q, want would-refuse", got)
	}
	if diff := cmp.Diff(refused.AuditAnnotations[auditFindings], watched.AuditAnnotations[auditFindings]); diff != "" {
		t.Errorf("findings (-enforce +audit):\n%s", diff)
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{config: noRemedies + "rules: {late-dialer: error, proxy-race: error}\n"})
	out := e.review(t, ValidatePath, podCreation("enforce", stuck(t)))
	if out.Allowed || out.Result.Code != http.StatusForbidden || out.Result.Reason != metav1.StatusReasonForbidden {
		t.Fatalf("got %+v, want 403 Forbidden", out.Result)
	}
	lines := strings.Split(out.Result.Message, "\n")
	if len(lines) < 2 || !strings.HasPrefix(lines[0], `HF101 Pod/web: "vault-agent-init"`) || !strings.HasSuffix(lines[0], fmt.Sprintf("(and %s)", others(len(lines)-1))) {
		t.Errorf("message:\n%s", out.Result.Message)
	}
	causes := out.Result.Details.Causes
	if len(causes) != len(lines) || causes[0].Type != "HF101" || causes[0].Field != "spec.initContainers[2]" || causes[0].Message == "" {
		t.Errorf("causes: %+v", causes)
	}
}

func others(n int) string {
	if n == 1 {
		return "1 other"
	}
	return fmt.Sprintf("%d others", n)
}

func TestLostSidecarIsRefusedWhereTheAPIServerWouldReject(t *testing.T) {
	t.Parallel()
	// A webhook on an old API dropped the field: the API server rejects such a pod before it calls the validating webhook.
	raw := []byte(strings.Replace(string(file(t, "pods", "cni-native-agent-init-first.json")), `"restartPolicy": "Always",`, ``, 1))
	e := newEdge(t, edgeOptions{config: noRemedies})
	out := e.review(t, MutatePath, podCreation("enforce", raw))
	if out.Allowed || !strings.HasPrefix(out.Result.Message, "HF104 Pod/web: ") {
		t.Errorf("enforce: got allowed %t, %+v", out.Allowed, out.Result)
	}
	out = e.review(t, MutatePath, podCreation("warn", raw))
	if !out.Allowed || len(out.Warnings) != 1 || out.AuditAnnotations[auditDecision] != "would-refuse" {
		t.Errorf("warn: got allowed %t, warnings %q, record %v", out.Allowed, out.Warnings, out.AuditAnnotations)
	}
	cured := newEdge(t, edgeOptions{})
	if out := cured.review(t, MutatePath, podCreation("enforce", raw)); !out.Allowed || !strings.Contains(string(out.Patch), "/restartPolicy") {
		t.Errorf("with remedies: got allowed %t, patch %s; want the field back", out.Allowed, out.Patch)
	}
}

func TestPatchKeepsWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	var object map[string]any
	if err := json.Unmarshal(stuck(t), &object); err != nil {
		t.Fatal(err)
	}
	spec, _ := object["spec"].(map[string]any)
	spec["inventedField"] = map[string]any{"deep": []any{1.0, "two"}}
	for _, c := range spec["initContainers"].([]any) {
		c.(map[string]any)["InitContainers"] = "the case of a key counts"
	}
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	out := e.review(t, MutatePath, podCreation("enforce", raw))
	patch, err := jsonpatch.DecodePatch(out.Patch)
	if err != nil {
		t.Fatal(err)
	}
	after, err := patch.Apply(raw)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(after, &got); err != nil {
		t.Fatal(err)
	}
	// But for the order of the init containers and our own annotation nothing may differ.
	wantSpec, gotSpec := object["spec"].(map[string]any), got["spec"].(map[string]any)
	if diff := cmp.Diff(names(wantSpec), names(gotSpec)); diff == "" {
		t.Error("nothing was moved")
	}
	byName := func(a, b any) int {
		return strings.Compare(a.(map[string]any)["name"].(string), b.(map[string]any)["name"].(string))
	}
	slices.SortFunc(wantSpec["initContainers"].([]any), byName)
	slices.SortFunc(gotSpec["initContainers"].([]any), byName)
	delete(got["metadata"].(map[string]any)["annotations"].(map[string]any), "holdfast.dev/applied")
	if diff := cmp.Diff(object, got); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}

	if again := e.review(t, MutatePath, podCreation("enforce", after)); len(again.Patch) > 0 {
		t.Errorf("a second pass patches again: %s", again.Patch)
	}
	if out := e.review(t, ValidatePath, podCreation("enforce", after)); !out.Allowed || out.AuditAnnotations[auditDecision] != "changed" ||
		out.AuditAnnotations[auditRemedies] != "reorder" {
		t.Errorf("validate after the patch: got allowed %t, record %v", out.Allowed, out.AuditAnnotations)
	}
}

func names(spec map[string]any) []string {
	var out []string
	for _, c := range spec["initContainers"].([]any) {
		out = append(out, c.(map[string]any)["name"].(string))
	}
	return out
}

func TestRecordedReviewsNeedNothing(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	for _, name := range []string{"pod-create.json", "pod-injected.json"} {
		r := recordedReview(t, name)
		r.Namespace = "enforce"
		out := e.review(t, MutatePath, r)
		if !out.Allowed || out.Patch != nil || out.PatchType != nil {
			t.Errorf("%s: got allowed %t, patch %s, type %v; want no patch at all", name, out.Allowed, out.Patch, out.PatchType)
		}
		if out := e.review(t, ValidatePath, r); !out.Allowed || out.AuditAnnotations[auditDecision] != "admitted" {
			t.Errorf("%s: got allowed %t, record %v", name, out.Allowed, out.AuditAnnotations)
		}
	}
}

func TestBrokenBodies(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	for name, test := range map[string]struct {
		body []byte
		code int32
	}{
		"empty":        {nil, http.StatusBadRequest},
		"no JSON":      {[]byte("{"), http.StatusBadRequest},
		"another kind": {[]byte(`{"apiVersion":"v1","kind":"Pod"}`), http.StatusOK}, // an empty request
	} {
		for _, path := range []string{MutatePath, ValidatePath} {
			if out := e.post(t, path, test.body); out.Result.Code != test.code || out.UID != "" {
				t.Errorf("%s %s: got %+v, UID %q; want code %d and no UID, which the API server takes for a failed call", path, name, out.Result, out.UID, test.code)
			}
		}
	}
	// The API server sends requests without an object for some operations.
	if out := e.review(t, ValidatePath, admissionv1.AdmissionRequest{UID: uid}); !out.Allowed {
		t.Errorf("an empty request: got %+v, want it admitted", out.Result)
	}
}

func TestObjectsThatDoNotDecodePass(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	secret := "hunter2"
	for _, raw := range []string{`{"spec":{"containers":"` + secret + `"}}`, `{"spec":{"containers":[{"name":7}]}}`, `"` + secret + `"`} {
		if out := e.review(t, MutatePath, podCreation("enforce", []byte(raw))); !out.Allowed || len(out.Patch) > 0 {
			t.Errorf("mutate %s: got %+v", raw, out)
		}
		out := e.review(t, ValidatePath, podCreation("enforce", []byte(raw)))
		if !out.Allowed || len(out.Warnings) != 1 {
			t.Errorf("validate %s: got allowed %t, warnings %q; want one", raw, out.Allowed, out.Warnings)
		}
		if strings.Contains(strings.Join(out.Warnings, ""), secret) {
			t.Errorf("a warning holds a value: %q", out.Warnings)
		}
	}
	if got := counted(t, e.metrics.failures.WithLabelValues(failedDecode)); got != 6 {
		t.Errorf("failures counted: got %v, want 6", got)
	}
	if logged := e.logged.String(); strings.Contains(logged, secret) || !strings.Contains(logged, "admitted unjudged") {
		t.Errorf("log:\n%s", logged)
	}
}

// padded is the stuck pod with an annotation of n bytes.
func padded(t *testing.T, n int) []byte {
	t.Helper()
	return []byte(strings.Replace(string(stuck(t)), `"annotations": {`, `"annotations": {"big":"`+strings.Repeat("x", n)+`",`, 1))
}

func TestHugePod(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	out := e.review(t, MutatePath, podCreation("enforce", padded(t, 3<<20)))
	if !out.Allowed || len(out.Patch) == 0 || len(out.Patch) > 4096 {
		t.Errorf("got allowed %t and a patch of %d bytes", out.Allowed, len(out.Patch))
	}
	if out := e.review(t, ValidatePath, podCreation("enforce", padded(t, 3<<20))); out.Allowed {
		t.Error("admitted, want it refused")
	}
}

func TestNothingOfAPodLeaves(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	const secret = "hunter2"
	raw := []byte(strings.Replace(string(stuck(t)), `"env": [`, `"env": [{"name":"PASSWORD","value":"`+secret+`"},`, 1))
	if !strings.Contains(string(raw), secret) {
		t.Fatal("the pod has no environment")
	}
	for _, mode := range []string{"enforce", "warn", "audit"} {
		e.review(t, MutatePath, podCreation(mode, raw))
		out := e.review(t, ValidatePath, podCreation(mode, raw))
		if all, _ := json.Marshal(out); strings.Contains(string(all), secret) {
			t.Errorf("%s: the answer holds a value of the environment", mode)
		}
	}
	if strings.Contains(e.logged.String(), secret) {
		t.Error("the log holds a value of the environment")
	}
	if n := strings.Count(e.logged.String(), `"msg":"reviewed"`); n != 3 {
		t.Errorf("got %d records in the log, want 3", n)
	}
}

func TestDryRunIsMarked(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	r := podCreation("audit", stuck(t))
	dry := true
	r.DryRun = &dry
	e.review(t, ValidatePath, r)
	if got := counted(t, e.metrics.reviews.WithLabelValues("CREATE", "Pod", "audit", "would-change", "true")); got != 1 {
		t.Errorf("dry runs counted: got %v, want 1", got)
	}
	if got := counted(t, e.metrics.remedies.WithLabelValues("reorder", "audit", "true")); got != 1 {
		t.Errorf("remedies of dry runs counted: got %v, want 1", got)
	}
	if !strings.Contains(e.logged.String(), `"dryRun":true`) {
		t.Errorf("log:\n%s", e.logged)
	}
}

func TestNamespaceThatIsNotInTheCache(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{unread: true}) // nothing is in the cache
	if out := e.review(t, ValidatePath, podCreation("enforce", stuck(t))); out.Allowed {
		t.Error("admitted; want the namespace looked up live, and the pod refused")
	}
	if out := e.review(t, MutatePath, podCreation("enforce", stuck(t))); len(out.Patch) == 0 {
		t.Error("no patch without a snapshot; what is fact in the pod can be put right")
	}
	if got := counted(t, e.metrics.lookups.WithLabelValues("live")); got != 2 {
		t.Errorf("live looks: got %v, want 2", got)
	}
}

func TestNamespaceThatCannotBeReadCountsAsAudit(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	out := e.review(t, ValidatePath, podCreation("nowhere", stuck(t)))
	if !out.Allowed || len(out.Warnings) > 0 || out.AuditAnnotations[auditMode] != "audit" || out.AuditAnnotations[auditDecision] != "would-change" {
		t.Errorf("got allowed %t, warnings %q, record %v", out.Allowed, out.Warnings, out.AuditAnnotations)
	}
	if got := counted(t, e.metrics.lookups.WithLabelValues("failed")); got != 1 {
		t.Errorf("failed looks: got %v, want 1", got)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{prepare: func(c *fake.Clientset) {
		c.PrependReactor("get", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
			<-time.After(50 * time.Millisecond) // begins after the deadline has begun, and lasts longer
			return false, nil, nil
		})
	}})
	out := e.review(t, ValidatePath+"?timeout=5ms", podCreation("nowhere", stuck(t)))
	if !out.Allowed {
		t.Errorf("got %+v, want it admitted", out.Result)
	}
	if got := counted(t, e.metrics.failures.WithLabelValues(failedDeadline)); got != 1 {
		t.Errorf("missed deadlines counted: got %v, want 1", got)
	}
}

func TestPanicAdmits(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{})
	h := e.reviewer.handle(ValidatePath, func(*subject, *admission.Request) admission.Response { panic("hunter2") })
	out := h.Handle(t.Context(), admission.Request{AdmissionRequest: podCreation("enforce", stuck(t))})
	if !out.Allowed {
		t.Errorf("got %+v, want it admitted", out.Result)
	}
	if got := counted(t, e.metrics.failures.WithLabelValues(failedPanic)); got != 1 {
		t.Errorf("panics counted: got %v, want 1", got)
	}
	if strings.Contains(e.logged.String(), "hunter2") {
		t.Error("the log holds what was panicked with")
	}
}

func TestWhatIsNoneOfOurBusinessPasses(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{config: noRemedies, objects: chain()})
	deployment := func() admissionv1.AdmissionRequest {
		return creation("enforce", "apps", "deployments", "Deployment", workload(t, "apps", "Deployment"))
	}
	for name, change := range map[string]func(r *admissionv1.AdmissionRequest){
		"delete": func(r *admissionv1.AdmissionRequest) {
			r.Operation, r.OldObject = admissionv1.Delete, r.Object
			r.Object.Raw = nil
		},
		"status":        func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" },
		"scale":         func(r *admissionv1.AdmissionRequest) { r.SubResource = "scale" },
		"connect":       func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Connect },
		"same template": func(r *admissionv1.AdmissionRequest) { r.Operation, r.OldObject = admissionv1.Update, r.Object },
		"our namespace": func(r *admissionv1.AdmissionRequest) { r.Namespace = "holdfast-system" },
		"another kind":  func(r *admissionv1.AdmissionRequest) { r.Resource.Resource = "widgets" },
		"being deleted": func(r *admissionv1.AdmissionRequest) { edit(r, `"deletionTimestamp":"2027-01-01T00:00:00Z"`) },
		"has controller": func(r *admissionv1.AdmissionRequest) {
			edit(r, `"ownerReferences":[{"apiVersion":"x/v1","kind":"X","name":"x","uid":"1","controller":true}]`)
		},
		"updated pod": func(r *admissionv1.AdmissionRequest) {
			*r = podCreation("enforce", stuck(t))
			r.Operation, r.OldObject.Raw = admissionv1.Update, []byte(`{}`)
		},
		"updated job": func(r *admissionv1.AdmissionRequest) {
			*r = creation("enforce", "batch", "jobs", "Job", workload(t, "batch", "Job"))
			r.Operation, r.OldObject.Raw = admissionv1.Update, []byte(`{}`)
		},
		"ephemeral containers": func(r *admissionv1.AdmissionRequest) {
			*r = podCreation("enforce", stuck(t))
			r.Operation, r.SubResource = admissionv1.Update, "ephemeralcontainers"
		},
	} {
		r := deployment()
		change(&r)
		for _, path := range []string{MutatePath, ValidatePath} {
			if out := e.review(t, path, r); !out.Allowed || len(out.Patch)+len(out.Warnings)+len(out.AuditAnnotations) > 0 {
				t.Errorf("%s %s: got allowed %t, patch %s, warnings %q, record %v", name, path, out.Allowed, out.Patch, out.Warnings, out.AuditAnnotations)
			}
		}
	}
	// The same object, created, is our business.
	if out := e.review(t, ValidatePath, deployment()); out.Allowed {
		t.Error("the Deployment is admitted: the cases above prove nothing")
	}
}

// edit adds a field to the metadata of the object.
func edit(r *admissionv1.AdmissionRequest, field string) {
	r.Object.Raw = []byte(strings.Replace(string(r.Object.Raw), `"metadata":{`, `"metadata":{`+field+`,`, 1))
}
