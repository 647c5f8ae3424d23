package webhook

import (
	"fmt"
	"net/http"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"holdfast.dev/holdfast/report"
)

// maxWarnings is how many warnings a client gets for one request: people read the first ones.
const maxWarnings = 5

// maxRefusals is how many findings a refusal spells out: an object may have hundreds.
const maxRefusals = 10

// allow lets the object pass untouched.
func allow() admission.Response {
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{
		Allowed: true, Result: &metav1.Status{Code: http.StatusOK},
	}}
}

// patched lets the object pass with explicit operations on it; an empty patch is none.
func patched(patch []byte) admission.Response {
	out := allow()
	if len(patch) > 0 {
		json := admissionv1.PatchTypeJSONPatch
		out.Patch, out.PatchType = patch, &json
	}
	return out
}

// refuse answers 403. The message is complete in itself, because clients print nothing else: the worst finding and the
// number of others in its first line, then the others, one a line, as far as they can be read. The causes say the same to
// machines.
func refuse(name string, findings []report.Finding) admission.Response {
	told := telling(findings)
	var message strings.Builder
	message.WriteString(told[0].Text())
	switch n := len(told) - 1; n {
	case 0:
	case 1:
		message.WriteString(" (and 1 other)")
	default:
		fmt.Fprintf(&message, " (and %d others)", n)
	}
	spelled := told[:min(len(told), maxRefusals)]
	causes := make([]metav1.StatusCause, len(spelled))
	for i := range spelled {
		f := &told[i]
		if i > 0 {
			message.WriteString("\n" + f.Text())
		}
		causes[i] = metav1.StatusCause{Type: metav1.CauseType(f.Code), Field: f.Path, Message: strings.TrimSpace(f.Message + " " + f.Fix)}
	}
	if more := len(told) - len(spelled); more > 0 {
		fmt.Fprintf(&message, "\nand %d more", more)
	}
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusForbidden,
		Reason:  metav1.StatusReasonForbidden,
		Message: message.String(),
		Details: &metav1.StatusDetails{Name: name, Causes: causes},
	}}}
}

// telling returns the findings that a client is told, worst first: comfort stays in the record.
func telling(findings []report.Finding) []report.Finding {
	for i := range findings {
		if findings[i].Severity < report.Warning {
			return findings[:i] // sorted
		}
	}
	return findings
}

// warnings are the findings as a client sees them beside an answer that lets the object pass.
func warnings(findings []report.Finding) []string {
	var out []string
	for i, f := range telling(findings) {
		if i == maxWarnings {
			break
		}
		out = append(out, f.String())
	}
	return out
}
