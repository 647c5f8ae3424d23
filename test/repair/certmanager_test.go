package repair

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/holdfast"
)

// TestCertManager has cert-manager issue the certificate, by the component of the manifests, and breaks one thing at a time.
func TestCertManager(t *testing.T) {
	s := shared.issued(t)
	if l := line(s.settle(t), "HF205", ""); l.State != diagnose.Passed {
		t.Errorf("HF205: got %s, want passed: %s", l.State, l.Message)
	}
	if l := line(s.serverSays(t), "HF205", ""); l.State != diagnose.Passed {
		t.Errorf("HF205, says the server: got %s, want passed: %s", l.State, l.Message)
	}
	for _, f := range issuedFaults() {
		t.Run(f.name, func(t *testing.T) { s.provoke(t, f) })
	}
}

// issued is the suite with cert-manager, and with another installation in the place of the shared one until the test ends.
func (s *suite) issued(t *testing.T) *suite {
	t.Helper()
	s.installation.Stop()
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		s.installation.Stop()
		check(t, s.cluster.DeleteObjects(ctx, slices.DeleteFunc(slices.Clone(s.installation.Objects()), func(o *unstructured.Unstructured) bool {
			return o.GroupVersionKind().Group != certmanager.SchemeGroupVersion.Group
		})))
		check(t, s.restore(ctx))
		check(t, s.install(ctx, holdfast.Options{Args: []string{"--cert-dir=" + certDir}, Edit: s.edit}))
	})
	s.deleteSecret(t)
	m, err := s.cluster.StartCertManager(t.Context(), s.certManager, s.node)
	check(t, err)
	i := *s
	i.restore = func(ctx context.Context) error {
		certificates := s.ofCertManager(t, "certificates")
		if c, err := certificates.Get(ctx, secret, metav1.GetOptions{}); err == nil && status(c, "Ready") != "True" {
			// It is of a test that has failed, and would stay so for an hour.
			if err := certificates.Delete(ctx, secret, metav1.DeleteOptions{}); err != nil {
				return err
			}
		}
		return s.cluster.ApplyObjects(ctx, m.Objects())
	}
	check(t, i.install(t.Context(), holdfast.Options{Components: []string{"cert-manager"}}))
	s.installation = i.installation
	return &i
}

func issuedFaults() []fault {
	return []fault{
		{
			name: "Certificate missing", causes: []string{"HF205 warning"}, says: "is not there",
			does: func(t *testing.T, s *suite) {
				check(t, s.ofCertManager(t, "certificates").Delete(t.Context(), secret, metav1.DeleteOptions{}))
			},
		},
		{
			name: "Certificate for another name", causes: []string{"HF203 failed"}, says: "is for holdfast.elsewhere.svc",
			does: func(t *testing.T, s *suite) {
				s.patchOf(t, "certificates", secret, `{"spec":{"dnsNames":["holdfast.elsewhere.svc"]}}`)
			},
		},
		{
			name: "Issuer missing", causes: []string{"HF205 warning"}, says: "Issuer holdfast-system/holdfast-ca is not there",
			does: func(t *testing.T, s *suite) {
				check(t, s.ofCertManager(t, "issuers").Delete(t.Context(), issuer, metav1.DeleteOptions{}))
				s.deleteSecret(t)
			},
			undo: func(t *testing.T, s *suite) { check(t, s.cluster.ApplyObjects(t.Context(), s.installation.Objects())) },
		},
		{
			name: "the CA is gone", causes: []string{"HF205 warning"}, says: `Issuer holdfast-system/holdfast-ca is not ready: Error getting keypair for CA issuer: secrets "gone" not found`,
			does: func(t *testing.T, s *suite) {
				s.patchOf(t, "issuers", issuer, `{"spec":{"ca":{"secretName":"gone"}}}`)
				s.deleteSecret(t)
			},
			undo: func(t *testing.T, s *suite) { check(t, s.cluster.ApplyObjects(t.Context(), s.installation.Objects())) },
		},
		{
			name: "cert-manager waits after a failure", causes: []string{"HF205 warning"}, says: "has failed: not today",
			does: func(t *testing.T, s *suite) {
				s.refuse(t, `{"type":"Approved","status":"True","reason":"cert-manager.io"},{"type":"Ready","status":"False","reason":"Failed","message":"not today"}`)
			},
		},
		{
			name: "the request is denied", causes: []string{"HF205 warning"}, says: "is denied: by policy",
			does: func(t *testing.T, s *suite) {
				s.refuse(t, `{"type":"Denied","status":"True","reason":"policy","message":"by policy"},{"type":"Ready","status":"False","reason":"Denied","message":"denied"}`)
			},
		},
		{
			name: "cert-manager is scaled to none", causes: []string{"HF205 warning"}, says: "is ready, but nobody renews it: Deployment cert-manager/cert-manager is scaled to 0",
			does: func(t *testing.T, s *suite) { s.scaleDown(t, "cert-manager") },
		},
		{
			name: "cert-manager is scaled to none and the Secret deleted", causes: []string{"HF205 warning"},
			says: "is not there, and Deployment cert-manager/cert-manager is scaled to 0",
			does: func(t *testing.T, s *suite) {
				s.scaleDown(t, "cert-manager")
				s.deleteSecret(t)
			},
		},
		{
			name: "cainjector is scaled to none and a CA taken away", causes: []string{"HF205 warning", "HF209 failed"}, names: "HF209 failed", says: "has no caBundle",
			does: func(t *testing.T, s *suite) {
				s.scaleDown(t, "cert-manager-cainjector")
				s.patch(t, true, `[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`)
			},
		},
	}
}

var errNotYet = errors.New("not yet")

// issuer is that of the component, for the serving certificate.
const issuer = "holdfast-ca"

// refuse has the request of the certificate get these conditions, as from an issuer or somebody who judges requests; then everything
// is as it should be again, but cert-manager waits for an hour before it asks again.
func (s *suite) refuse(t *testing.T, conditions string) {
	t.Helper()
	check(t, s.ofCertManager(t, "issuers").Delete(t.Context(), issuer, metav1.DeleteOptions{}))
	s.deleteSecret(t)
	request := ""
	s.wait(t, "a request that waits for its issuer", func() bool {
		all, err := s.ofCertManager(t, "certificaterequests").List(t.Context(), metav1.ListOptions{})
		check(t, err)
		for i := range all.Items {
			if reason(&all.Items[i], "Ready") == "Pending" {
				request = all.Items[i].GetName()
			}
		}
		return request != ""
	})
	now := time.Now().UTC().Format(time.RFC3339)
	_, err := s.ofCertManager(t, "certificaterequests").Patch(t.Context(), request, types.MergePatchType,
		[]byte(`{"status":{"failureTime":"`+now+`","conditions":[`+conditions+`]}}`), metav1.PatchOptions{}, "status")
	check(t, err)
	s.wait(t, "cert-manager to give up", func() bool {
		c, err := s.ofCertManager(t, "certificates").Get(t.Context(), secret, metav1.GetOptions{})
		check(t, err)
		return status(c, "Issuing") == "False"
	})
	check(t, s.cluster.ApplyObjects(t.Context(), s.installation.Objects()))
}

func reason(o *unstructured.Unstructured, condition string) string {
	return ofCondition(o, condition, "reason")
}

func status(o *unstructured.Unstructured, condition string) string {
	return ofCondition(o, condition, "status")
}

func ofCondition(o *unstructured.Unstructured, condition, field string) string {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if c := c.(map[string]any); c["type"] == condition {
			value, _ := c[field].(string)
			return value
		}
	}
	return ""
}

func (s *suite) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	check(t, controlplane.WaitFor(ctx, what, nil, func(context.Context) error {
		if !ok() {
			return errNotYet
		}
		return nil
	}))
}

func (s *suite) ofCertManager(t *testing.T, resource string) dynamic.ResourceInterface {
	t.Helper()
	d, err := dynamic.NewForConfig(s.cluster.Config())
	check(t, err)
	return d.Resource(certmanager.SchemeGroupVersion.WithResource(resource)).Namespace(ns)
}

func (s *suite) patchOf(t *testing.T, resource, name, patch string) {
	t.Helper()
	_, err := s.ofCertManager(t, resource).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	check(t, err)
}

func (s *suite) deleteSecret(t *testing.T) {
	t.Helper()
	check(t, s.client.CoreV1().Secrets(ns).Delete(t.Context(), secret, metav1.DeleteOptions{}))
}

func (s *suite) scaleDown(t *testing.T, deployment string) {
	t.Helper()
	none := []byte(`{"spec":{"replicas":0}}`)
	_, err := s.client.AppsV1().Deployments(controlplane.CertManagerNamespace).Patch(t.Context(), deployment, types.MergePatchType, none, metav1.PatchOptions{})
	check(t, err)
	s.wait(t, "the end of its pods", func() bool {
		d, err := s.client.AppsV1().Deployments(controlplane.CertManagerNamespace).Get(t.Context(), deployment, metav1.GetOptions{})
		check(t, err)
		return d.Status.Replicas == 0
	})
}
