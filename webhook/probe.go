package webhook

import (
	"context"
	"encoding/json"
	"regexp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"holdfast.dev/holdfast/config"
)

// answerProbe gives back the nonce of an object that was made to see whether the API server reaches us, as a patch or as a
// warning, with the name of this replica. Objects without a nonce pass. Nothing is judged and nothing counted.
func answerProbe(replica string, mutating bool) admission.Handler {
	nonces := regexp.MustCompile(`^[a-z0-9]{8,64}$`)
	return admission.HandlerFunc(func(_ context.Context, req admission.Request) admission.Response {
		var object metav1.PartialObjectMetadata
		if err := decode(req.Object.Raw, &object); err != nil {
			return allow()
		}
		nonce := object.Annotations[config.ProbeNonceAnnotation]
		if !nonces.MatchString(nonce) {
			return allow()
		}
		answer := nonce + " " + replica
		if mutating {
			patch, err := json.Marshal([]operation{{Op: "add", Path: "/metadata/annotations/holdfast.dev~1probe-answer", Value: answer}})
			if err != nil { // strings only: cannot happen
				return allow()
			}
			return patched(patch)
		}
		out := allow()
		out.Warnings = []string{config.ProbeWarning + answer}
		return out
	})
}
