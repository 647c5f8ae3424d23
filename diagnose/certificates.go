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
	c, err := decodeAs[certmanager.Certificate](o)
	if err == nil {
		c.Spec.SecretName = report.Word(c.Spec.SecretName)
	}
	return c, err
}

func decodeAs[T any](o *unstructured.Unstructured) (*T, error) {
	var decoded T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &decoded); err != nil {
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

// obstacle is the object that keeps a Certificate from being issued, and why; "" where none is found, or may be read.
func (s *Subject) obstacle(ctx context.Context, c *certmanager.Certificate) (at, why string) {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	if at, why = s.issuerOf(ctx, c); why != "" {
		return at, why
	}
	all, err := s.Dynamic.Resource(certManagerKind("certificaterequests")).Namespace(c.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", ""
	}
	newest := metav1.Time{}
	for i := range all.Items {
		o := &all.Items[i]
		made := o.GetCreationTimestamp()
		if o.GetAnnotations()[certmanager.CertificateNameKey] != c.Name || made.Before(&newest) {
			continue
		}
		r, err := decodeAs[certmanager.CertificateRequest](o)
		if err != nil {
			continue
		}
		newest, at, why = made, "CertificateRequest "+r.Name, refusal(r)
	}
	return at, why
}

// refusal says why a request is not granted, "" where it is.
func refusal(r *certmanager.CertificateRequest) (why string) {
	for _, c := range r.Status.Conditions {
		switch {
		case c.Type == certmanager.CertificateRequestConditionDenied && c.Status == cmmeta.ConditionTrue:
			return "is denied: " + c.Message
		case c.Type == certmanager.CertificateRequestConditionReady && c.Status != cmmeta.ConditionTrue:
			why = "is not granted: " + c.Message
		}
	}
	return why
}

// missing is what is said of an issuer that is not there.
const missing = "is not there"

// issuerOf says what is wrong with the issuer of a Certificate; "" where nothing is, or it is of a kind that is not cert-manager's own.
func (s *Subject) issuerOf(ctx context.Context, c *certmanager.Certificate) (at, why string) {
	ref := c.Spec.IssuerRef
	if ref.Name == "" || ref.Group != "" && ref.Group != certmanager.SchemeGroupVersion.Group {
		return "", ""
	}
	var o *unstructured.Unstructured
	var err error
	if ref.Kind == certmanager.ClusterIssuerKind {
		at = ref.Kind + " " + ref.Name
		o, err = s.Dynamic.Resource(certManagerKind("clusterissuers")).Get(ctx, ref.Name, metav1.GetOptions{})
	} else {
		at = certmanager.IssuerKind + " " + c.Namespace + "/" + ref.Name
		o, err = s.Dynamic.Resource(certManagerKind("issuers")).Namespace(c.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return at, missing
	}
	if err != nil {
		return "", ""
	}
	issuer, err := decodeAs[certmanager.Issuer](o) // both kinds have the same status
	if err != nil {
		return "", ""
	}
	for _, condition := range issuer.Status.Conditions {
		if condition.Type == certmanager.IssuerConditionReady && condition.Status != cmmeta.ConditionTrue {
			return at, "is not ready: " + condition.Message
		}
	}
	return "", ""
}

// look prints what cert-manager says of a Certificate, and of what it needs.
func (s *Subject) look(c *certmanager.Certificate) string {
	lines := []string{"kubectl -n " + c.Namespace + " get certificates,certificaterequests,issuers -o wide"}
	if c.Spec.IssuerRef.Kind == certmanager.ClusterIssuerKind {
		lines = append(lines, "kubectl get clusterissuers -o wide")
	}
	return steps(lines...)
}

// reissue has cert-manager issue a Certificate again, as its own cmctl renew does; "" for one that it has not looked at. A request
// that has failed stands in the way unless the condition is newer (cert-manager,
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
	patch := strings.ReplaceAll(encode(ops), `"`+hole+`"`, `"'$(date -u +%FT%TZ)'"`)
	return steps(why, "kubectl -n "+c.Namespace+" patch certificate "+c.Name+" --subresource=status --type=json -p '"+patch+"'")
}
