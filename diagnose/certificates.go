package diagnose

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"holdfast.dev/holdfast/report"
)

// certManagerKind is one of cert-manager's kinds.
func certManagerKind(resource string) schema.GroupVersionResource {
	return certmanager.SchemeGroupVersion.WithResource(resource)
}

// certificate reads one.
func (s *Subject) certificate(ctx context.Context, namespace, name string) (*certmanager.Certificate, error) {
	o, err := s.Dynamic.Resource(certManagerKind("certificates")).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return decodeCertificate(o)
}

// certificateOf finds cert-manager's Certificate that writes a Secret, else the one whose CA the configurations ask for.
func (s *Subject) certificateOf(ctx context.Context, secret string) *certmanager.Certificate {
	if s.Dynamic == nil {
		return nil
	}
	if namespace, name, ok := strings.Cut(s.injectedFrom(ctx), "/"); ok {
		c, err := s.certificate(ctx, namespace, name)
		if err == nil && (secret == "" || namespace == s.Own.Namespace && c.Spec.SecretName == secret) {
			return c
		}
	}
	if secret == "" {
		return nil
	}
	all, err := s.Dynamic.Resource(certManagerKind("certificates")).Namespace(s.Own.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	for i := range all.Items {
		if c, err := decodeCertificate(&all.Items[i]); err == nil && c.Spec.SecretName == secret {
			return c
		}
	}
	return nil
}

// decodeCertificate makes the Secret's name, which nobody has checked, fit to stand in a command.
func decodeCertificate(o *unstructured.Unstructured) (*certmanager.Certificate, error) {
	c, err := decodeAs[certmanager.Certificate](o, []string{"spec", "secretName"}, []string{"spec", "dnsNames"}, []string{"spec", "issuerRef"})
	if err == nil {
		c.Spec.SecretName = report.Word(c.Spec.SecretName)
	}
	return c, err
}

// decodeAs reads the metadata, the conditions and these fields, and nothing else: what other versions have there is of no matter.
func decodeAs[T any](o *unstructured.Unstructured, fields ...[]string) (*T, error) {
	only := map[string]any{"metadata": o.Object["metadata"]}
	for _, path := range append(fields, []string{"status", "conditions"}) {
		if value, ok, err := unstructured.NestedFieldNoCopy(o.Object, path...); ok && err == nil {
			_ = unstructured.SetNestedField(only, value, path...) // only maps are made on the way
		}
	}
	var decoded T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(only, &decoded); err != nil {
		return nil, fmt.Errorf("decode %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
	}
	return &decoded, nil
}

// readiness is the condition Ready of a Certificate, whose status is "" while nobody has written it.
func readiness(conditions []certmanager.CertificateCondition) certmanager.CertificateCondition {
	for _, c := range conditions {
		if c.Type == certmanager.CertificateConditionReady {
			return c
		}
	}
	return certmanager.CertificateCondition{}
}

// obstacle is what keeps a Certificate from being issued: an object, and what is wrong with it.
type obstacle struct {
	at, why string
	missing bool   // the object is not there
	waits   bool   // nothing is wrong with it yet
	failed  bool   // it was tried
	denied  string // the CertificateRequest that nothing will come of
}

// obstacle looks for it; nil where nothing is found, or may be read.
func (s *Subject) obstacle(ctx context.Context, c *certmanager.Certificate) *obstacle {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	if o := s.issuerOf(ctx, c); o != nil {
		return o
	}
	all, err := s.Dynamic.Resource(certManagerKind("certificaterequests")).Namespace(c.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	var newest *unstructured.Unstructured
	for i := range all.Items {
		o := &all.Items[i]
		if made := o.GetCreationTimestamp(); o.GetAnnotations()[certmanager.CertificateNameKey] == c.Name && (newest == nil || made.After(newest.GetCreationTimestamp().Time)) {
			newest = o
		}
	}
	if newest == nil {
		return nil
	}
	r, err := decodeAs[certmanager.CertificateRequest](newest)
	if err != nil {
		return nil
	}
	return refusal(r)
}

// refusal says why a request is not granted, nil where it is.
func refusal(r *certmanager.CertificateRequest) *obstacle {
	var out *obstacle
	at := "CertificateRequest " + r.Name
	for _, c := range r.Status.Conditions {
		is := c.Status == cmmeta.ConditionTrue
		switch {
		case is && (c.Type == certmanager.CertificateRequestConditionDenied || c.Type == certmanager.CertificateRequestConditionInvalidRequest):
			return &obstacle{at: at, why: said("is denied", c.Message), denied: r.Name}
		case is || c.Type != certmanager.CertificateRequestConditionReady:
		case c.Reason == certmanager.CertificateRequestReasonFailed:
			out = &obstacle{at: at, why: said("has failed", c.Message), failed: true}
		default:
			out = &obstacle{at: at, why: said("waits", c.Message), waits: true}
		}
	}
	return out
}

// said adds somebody's words, if there are any.
func said(what, words string) string {
	if words == "" {
		return what
	}
	return what + ": " + words
}

// issuerOf says what is wrong with the issuer of a Certificate; nil where nothing is, or it is of a kind that is not cert-manager's own.
func (s *Subject) issuerOf(ctx context.Context, c *certmanager.Certificate) *obstacle {
	ref := c.Spec.IssuerRef
	if ref.Name == "" || ref.Group != "" && ref.Group != certmanager.SchemeGroupVersion.Group {
		return nil
	}
	var at string
	var o *unstructured.Unstructured
	var err error
	switch ref.Kind {
	case certmanager.ClusterIssuerKind:
		at = ref.Kind + " " + ref.Name
		o, err = s.Dynamic.Resource(certManagerKind("clusterissuers")).Get(ctx, ref.Name, metav1.GetOptions{})
	case certmanager.IssuerKind, "":
		at = certmanager.IssuerKind + " " + c.Namespace + "/" + ref.Name
		o, err = s.Dynamic.Resource(certManagerKind("issuers")).Namespace(c.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	default:
		return nil
	}
	if apierrors.IsNotFound(err) {
		return &obstacle{at: at, why: "is not there", missing: true}
	}
	if err != nil {
		return nil
	}
	issuer, err := decodeAs[certmanager.Issuer](o) // both kinds have the same status
	if err != nil {
		return nil
	}
	for _, condition := range issuer.Status.Conditions {
		if condition.Type == certmanager.IssuerConditionReady && condition.Status != cmmeta.ConditionTrue {
			return &obstacle{at: at, why: said("is not ready", condition.Message)}
		}
	}
	return nil
}

// With their group: others have kinds of these names, too.
const certificateResource, requestResource = "certificates.cert-manager.io", "certificaterequests.cert-manager.io"

// look prints what cert-manager says of a Certificate, and of what it needs.
func (s *Subject) look(c *certmanager.Certificate) string {
	of, issuers := "kubectl -n "+c.Namespace, ",issuers.cert-manager.io"
	clusterIssuers := ""
	if c.Spec.IssuerRef.Kind == certmanager.ClusterIssuerKind {
		issuers, clusterIssuers = "", "kubectl get clusterissuers.cert-manager.io -o wide"
	}
	return steps(of+" get "+certificateResource+","+requestResource+issuers+" -o wide", clusterIssuers, of+" get events --field-selector involvedObject.name="+c.Name)
}

// reissue has cert-manager issue a Certificate again, as its own cmctl renew does; "" for one that it has not looked at. A request
// whose reason is Failed stands in the way unless the condition is newer (cert-manager,
// pkg/controller/certificates/requestmanager/requestmanager_controller.go at 1.21).
func (s *Subject) reissue(c *certmanager.Certificate, why string) string {
	const at, hole = "/status/conditions/", "$now"
	if len(c.Status.Conditions) == 0 {
		return ""
	}
	wanted := map[string]any{
		"type": certmanager.CertificateConditionIssuing, "status": cmmeta.ConditionTrue, "lastTransitionTime": hole,
		"reason": "ManuallyTriggered", "message": "issued again by hand",
	}
	ops := []op{{"add", at + "-", wanted}}
	for i, have := range c.Status.Conditions {
		if have.Type == certmanager.CertificateConditionIssuing {
			ops = []op{{"test", at + strconv.Itoa(i) + "/type", have.Type}, {"replace", at + strconv.Itoa(i), wanted}}
		}
	}
	patch := strings.ReplaceAll(encode(ops), `"`+hole+`"`, `"'"$(date -u +%FT%TZ)"'"`)
	return steps(why, "kubectl -n "+c.Namespace+" patch "+certificateResource+" "+c.Name+" --subresource=status --type=json -p '"+patch+"'")
}
