package diagnose

import (
	"context"
	"fmt"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"holdfast.dev/holdfast/report"
)

// certificates are cert-manager's.
func certificates() schema.GroupVersionResource {
	return certmanager.SchemeGroupVersion.WithResource("certificates")
}

// certificate reads one.
func (s *Subject) certificate(ctx context.Context, namespace, name string) (*certmanager.Certificate, error) {
	o, err := s.Dynamic.Resource(certificates()).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
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
	all, err := s.Dynamic.Resource(certificates()).Namespace(s.Own.Namespace).List(ctx, metav1.ListOptions{})
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
	var c certmanager.Certificate
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &c); err != nil {
		return nil, fmt.Errorf("decode Certificate %s/%s: %w", o.GetNamespace(), o.GetName(), err)
	}
	c.Spec.SecretName = report.Word(c.Spec.SecretName)
	return &c, nil
}

// readiness is the condition Ready, whose status is "" while nobody has written it.
func readiness(c *certmanager.Certificate) certmanager.CertificateCondition {
	for _, condition := range c.Status.Conditions {
		if condition.Type == certmanager.CertificateConditionReady {
			return condition
		}
	}
	return certmanager.CertificateCondition{}
}
