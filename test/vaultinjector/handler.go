package vaultinjector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mutatePath is where the chart's webhook configuration sends reviews.
const mutatePath = "/mutate"

// maxReview is more than an API server sends: a request is at most 3 MiB there, and a
// review carries it once for the object and once for the old object.
const maxReview = 8 << 20

// Handler serves /mutate (AdmissionReview v1) and /health/ready. A body that is no
// review is answered with 400; a review always with 200, refused or not.
func (i Injector) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+mutatePath, i.review)
	mux.HandleFunc("GET /health/ready", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func (i Injector) review(w http.ResponseWriter, r *http.Request) {
	request, err := readReview(w, r)
	if err != nil {
		i.Log.V(1).Info("review not understood", "cause", err.Error())
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response := i.answer(request)
	i.Log.Info("pod reviewed", "namespace", request.Namespace, "allowed", response.Allowed, "patched", len(response.Patch) > 0)
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: response,
	})
	if err != nil {
		http.Error(w, fmt.Sprintf("encode admission review: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(body); err != nil {
		i.Log.V(1).Info("answer not sent", "cause", err.Error())
	}
}

// answer turns an error of the injection into a refusal. That the webhook's
// failurePolicy is Ignore does not soften it: it covers calls that fail, not answers.
func (i Injector) answer(request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	refusal := func(err error) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{UID: request.UID, Result: &metav1.Status{Message: err.Error()}}
	}
	operations, err := i.MutateRaw(request.Object.Raw, request.Namespace)
	if err != nil {
		return refusal(err)
	}
	response := &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}
	if len(operations) == 0 {
		return response
	}
	patch, err := json.Marshal(operations)
	if err != nil {
		return refusal(fmt.Errorf("encode patch: %w", err))
	}
	patchType := admissionv1.PatchTypeJSONPatch
	response.Patch, response.PatchType = patch, &patchType
	return response
}

func readReview(w http.ResponseWriter, r *http.Request) (*admissionv1.AdmissionRequest, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, fmt.Errorf("content type %q is not application/json", r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReview))
	if err != nil {
		return nil, fmt.Errorf("read admission review: %w", err)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, fmt.Errorf("decode admission review: %w", err)
	}
	switch want := admissionv1.SchemeGroupVersion.String(); {
	case review.APIVersion != want || review.Kind != "AdmissionReview":
		return nil, fmt.Errorf("body is %s %s, not %s AdmissionReview", review.APIVersion, review.Kind, want)
	case review.Request == nil:
		return nil, errors.New("admission review has no request")
	}
	return review.Request, nil
}
