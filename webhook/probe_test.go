package webhook

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// TestAnswerProbe: the nonce comes back as it was sent, with the replica's name, and nothing else is ever given back.
func TestAnswerProbe(t *testing.T) {
	t.Parallel()
	const nonce = "abcdefgh2345"
	object := func(annotations string) []byte {
		return []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"` + annotations + `},"data":{"a":"b"}}`)
	}
	for name, c := range map[string]struct {
		raw      []byte
		patch    string
		warnings []string
	}{
		"nonce": {
			raw:      object(`,"annotations":{"holdfast.dev/probe-nonce":"` + nonce + `"}`),
			patch:    `[{"op":"add","path":"/metadata/annotations/holdfast.dev~1probe-answer","value":"` + nonce + ` holdfast-a"}]`,
			warnings: []string{"holdfast-probe " + nonce + " holdfast-a"},
		},
		"none":          {raw: object("")},
		"not a nonce":   {raw: object(`,"annotations":{"holdfast.dev/probe-nonce":"<script>alert(1)</script>"}`)},
		"far too long":  {raw: object(`,"annotations":{"holdfast.dev/probe-nonce":"` + strings.Repeat("a", 65) + `"}`)},
		"not an object": {raw: []byte(`"x"`)},
		"nothing":       {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: c.raw}}}
			mutating, validating := answerProbe("holdfast-a", true).Handle(t.Context(), req), answerProbe("holdfast-a", false).Handle(t.Context(), req)
			if !mutating.Allowed || !validating.Allowed {
				t.Error("the probe's object was not let through")
			}
			if diff := cmp.Diff(c.patch, string(mutating.Patch)); diff != "" || len(mutating.Warnings) > 0 {
				t.Errorf("mutating (-want +got):\n%s%v", diff, mutating.Warnings)
			}
			if diff := cmp.Diff(c.warnings, validating.Warnings); diff != "" || len(validating.Patch) > 0 {
				t.Errorf("validating (-want +got):\n%s%s", diff, validating.Patch)
			}
		})
	}
}
