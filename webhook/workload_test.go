package webhook

import (
	"net/http"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// kinds are the workloads, with where their pod lies.
func kinds() map[string][3]string {
	return map[string][3]string{
		"Deployment":            {"apps", "deployments", "/spec/template"},
		"StatefulSet":           {"apps", "statefulsets", "/spec/template"},
		"DaemonSet":             {"apps", "daemonsets", "/spec/template"},
		"ReplicaSet":            {"apps", "replicasets", "/spec/template"},
		"ReplicationController": {"", "replicationcontrollers", "/spec/template"},
		"Job":                   {"batch", "jobs", "/spec/template"},
		"CronJob":               {"batch", "cronjobs", "/spec/jobTemplate/spec/template"},
	}
}

func TestTemplatesGetHoldAndNothingElse(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{objects: chain()})
	for kind, at := range kinds() {
		raw := workload(t, at[0], kind)
		out := e.review(t, MutatePath, creation("enforce", at[0], at[1], kind, raw))
		if kind == "Job" || kind == "CronJob" {
			if len(out.Patch) > 0 { // hold is a trap where a proxy that has ended is not started again
				t.Errorf("%s: got patch %s, want none", kind, out.Patch)
			}
			continue
		}
		patch := string(out.Patch)
		if !strings.Contains(patch, at[2]+"/metadata/annotations/proxy.istio.io~1config") || strings.Contains(patch, "holdfast.dev") || strings.Count(patch, `"op"`) != 1 {
			t.Errorf("%s: got patch %s, want hold alone", kind, patch)
		}
		applied, err := jsonpatch.DecodePatch(out.Patch)
		if err != nil {
			t.Fatal(err)
		}
		after, err := applied.Apply(raw)
		if err != nil || !strings.Contains(string(after), `"x-invented":{"kept":true}`) {
			t.Errorf("%s: after the patch: %s, %v", kind, after, err)
		}
		if again := e.review(t, MutatePath, creation("enforce", at[0], at[1], kind, after)); len(again.Patch) > 0 {
			t.Errorf("%s: patched again: %s", kind, again.Patch)
		}
	}
}

func TestWorkloadsAreRefusedOnCreationOnly(t *testing.T) {
	t.Parallel()
	e := newEdge(t, edgeOptions{config: noRemedies, objects: chain()})
	for kind, at := range kinds() {
		raw := workload(t, at[0], kind)
		r := creation("enforce", at[0], at[1], kind, raw)
		out := e.review(t, ValidatePath, r)
		if out.Allowed || out.Result.Code != http.StatusForbidden || !strings.HasPrefix(out.Result.Message, "HF101 "+kind+"/web") {
			t.Errorf("%s: got allowed %t, %+v; want it refused", kind, out.Allowed, out.Result)
		} else if field := out.Result.Details.Causes[0].Field; !strings.HasPrefix(field, strings.ReplaceAll(at[2][1:], "/", ".")+".spec.") {
			t.Errorf("%s: field %s", kind, field)
		}
		if kind == "Job" {
			continue
		}
		r.Operation = admissionv1.Update
		r.OldObject = runtime.RawExtension{Raw: []byte(strings.Replace(string(raw), "app:1", "app:0", 1))}
		out = e.review(t, ValidatePath, r)
		if !out.Allowed || len(out.Warnings) == 0 || !strings.HasPrefix(out.Warnings[0], "HF101 ") {
			t.Errorf("%s, updated: got allowed %t, warnings %q; want it admitted with a warning", kind, out.Allowed, out.Warnings)
		}
	}
}

func TestWorkloadsByModeAndConfiguration(t *testing.T) {
	t.Parallel()
	raw := workload(t, "apps", "Deployment")
	for name, test := range map[string]struct {
		config, mode string
		unread       bool
		allowed      bool
		decision     string
		warned       bool
	}{
		"enforce":                    {config: noRemedies, mode: "enforce", decision: "refused"},
		"enforce, workloads: warn":   {config: noRemedies + "workloads: warn\n", mode: "enforce", allowed: true, decision: "admitted", warned: true},
		"warn":                       {config: noRemedies, mode: "warn", allowed: true, decision: "would-refuse", warned: true},
		"audit":                      {config: noRemedies, mode: "audit", allowed: true, decision: "would-refuse"},
		"enforce, curable":           {config: "{}", mode: "enforce", allowed: true, decision: "admitted"},
		"audit, curable":             {config: "{}", mode: "audit", allowed: true, decision: "would-change"},
		"enforce, no chain is known": {config: noRemedies, mode: "enforce", unread: true, allowed: true, decision: "admitted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, edgeOptions{config: test.config, objects: chain(), unread: test.unread})
			out := e.review(t, ValidatePath, creation(test.mode, "apps", "deployments", "Deployment", raw))
			if out.Allowed != test.allowed || out.AuditAnnotations[auditDecision] != test.decision || (len(out.Warnings) > 0) != test.warned {
				t.Errorf("got allowed %t, record %v, warnings %q; want %+v", out.Allowed, out.AuditAnnotations, out.Warnings, test)
			}
		})
	}
}

func TestUncertainPredictionsOnlyWarn(t *testing.T) {
	t.Parallel()
	// Without the mesh's ConfigMaps nobody knows whether it uses an init container or a node plugin.
	e := newEdge(t, edgeOptions{config: noRemedies, objects: chain()[:3]})
	out := e.review(t, ValidatePath, creation("enforce", "apps", "deployments", "Deployment", workload(t, "apps", "Deployment")))
	if !out.Allowed {
		t.Errorf("refused: %s", out.Result.Message)
	}
}
