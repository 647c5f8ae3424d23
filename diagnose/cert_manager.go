package diagnose

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"holdfast.dev/holdfast/report"
)

func certManager() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF205", Name: "cert-manager", Severity: report.Error,
			Title: "cert-manager has issued the certificate",
			Why:   "The webhook configurations ask cert-manager for the CA of a Certificate that is not there, or that it could not issue. Then the Secret stays empty, pods that mount it do not start, and no CA is put into the configurations.",
			Fix:   "kubectl describe certificate, and the CertificateRequest and Issuer that it names: the condition's message says what is missing.",
		},
		Needs: []string{apiServerCode},
		ask: func(ctx context.Context, s *Subject) Result {
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			from := ""
			for _, e := range entries {
				if value := e.Annotations[injectFrom]; value != "" {
					from = value
				}
			}
			namespace, name, ok := strings.Cut(from, "/")
			if from == "" {
				return notApplicable("no webhook configuration of ours asks for a CA of cert-manager's")
			}
			if !ok || s.Dynamic == nil {
				return failed("Write it as NAMESPACE/CERTIFICATE.", "annotation %s=%q names no Certificate", injectFrom, from)
			}
			kind := schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "certificates"}
			c, err := s.Dynamic.Resource(kind).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
				return failed("Install cert-manager, and the Certificate: kubectl -n "+namespace+" get certificate "+name,
					"Certificate %s, which annotation %s names, is not there", from, injectFrom)
			case err != nil:
				return cannot(err)
			}
			status, reason, message := condition(c, "Ready")
			if status != string(metav1.ConditionTrue) {
				if message == "" {
					message = "cert-manager has said nothing about it yet: is it running?"
				}
				return failed("kubectl -n "+namespace+" describe certificate "+name, "Certificate %s is not ready: %s", from, strings.TrimSpace(reason+" "+message))
			}
			return passed("Certificate %s is ready", from)
		},
	}
}

// condition reads one of the conditions that most kinds have in their status.
func condition(o *unstructured.Unstructured, kind string) (status, reason, message string) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		m, ok := c.(map[string]any)
		if !ok || m["type"] != kind {
			continue
		}
		status, _ = m["status"].(string)
		reason, _ = m["reason"].(string)
		message, _ = m["message"].(string)
		return status, reason, message
	}
	return "", "", ""
}
