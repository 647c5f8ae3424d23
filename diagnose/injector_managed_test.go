package diagnose

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestManagedRevisions(t *testing.T) {
	t.Parallel()
	revision := func(name string, conditions ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "mesh.cloud.google.com/v1beta1", "kind": "ControlPlaneRevision", "metadata": map[string]any{"name": name, "namespace": "istio-system"},
			"status": map[string]any{"conditions": conditions},
		}}
	}
	is := func(kind, status string) map[string]any {
		return map[string]any{"type": kind, "status": status, "reason": "PreconditionFailed", "message": "workload identity is off"}
	}
	denied := apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no"))
	tests := []struct {
		name     string
		revision *unstructured.Unstructured
		err      error // of the look for the group
		want     string
	}{
		{"reconciled", revision("asm-managed", is("Reconciled", "True"), is("Stalled", "False")), nil, "passed: Reconciled"},
		{"stalled", revision("asm-managed", is("Reconciled", "False"), is("Stalled", "True")), nil, "failed: its provisioning has stopped: PreconditionFailed: workload identity is off"},
		{"not reconciled", revision("asm-managed", is("Reconciled", "False")), nil, "failed: it is not reconciled"},
		{"nothing said", revision("asm-managed"), nil, "warning: it says nothing of Reconciled yet"},
		{"none there", nil, nil, "not-applicable: "},
		{"nobody knows the group", nil, apierrors.NewNotFound(schema.GroupResource{}, "x"), "not-applicable: "},
		{"not allowed to look", nil, denied, "unknown: a right is missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var objects []runtime.Object
			if test.revision != nil {
				objects = append(objects, test.revision)
			}
			kind := schema.GroupVersionResource{Group: meshGroup, Version: "v1beta1", Resource: "controlplanerevisions"}
			s := &Subject{
				Client: fake.NewClientset(), Now: time.Now,
				Dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{kind: "ControlPlaneRevisionList"}, objects...),
				Raw:     discovery("controlplanerevisions", test.err),
			}
			r := run(t.Context(), s, []Group{
				{Name: "registration", Probes: []Probe{apiServer()}},
				{Name: "managed", Probes: []Probe{managedRevision()}, About: managedRevisions},
			}, whole)
			l := &r.Probes[1]
			if got := string(l.State) + ": " + l.Message; !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if test.revision != nil && l.Object != "ControlPlaneRevision/istio-system/asm-managed" {
				t.Errorf("got object %q", l.Object)
			}
		})
	}
}

// discovery answers for Google's group with one kind in it.
func discovery(resource string, err error) func(context.Context, string) ([]byte, error) {
	return func(_ context.Context, path string) ([]byte, error) {
		switch path {
		case "/apis/" + meshGroup:
			return []byte(`{"kind":"APIGroup","preferredVersion":{"version":"v1beta1"}}`), err
		case "/apis/" + meshGroup + "/v1beta1":
			return []byte(`{"kind":"APIResourceList","resources":[{"name":"` + resource + `"}]}`), err
		}
		return []byte(`{}`), nil
	}
}

// TestRightToManagedRevisions: the right to list them is one where there are any, and nowhere else.
func TestRightToManagedRevisions(t *testing.T) {
	t.Parallel()
	const right = "list controlplanerevisions.mesh.cloud.google.com (the managed control plane)"
	tests := []struct {
		name    string
		raw     func(context.Context, string) ([]byte, error)
		allowed bool
		want    string
	}{
		{"served and allowed", discovery("controlplanerevisions", nil), true, "passed: "},
		{"served, not allowed", discovery("controlplanerevisions", nil), false, "failed: 1 right missing: " + right},
		{"the group has other kinds", discovery("dataplanecontrols", nil), false, "passed: "},
		{"no such group", discovery("controlplanerevisions", apierrors.NewNotFound(schema.GroupResource{}, meshGroup)), false, "passed: "},
		{"nobody can tell", discovery("controlplanerevisions", errors.New("no")), false, "passed: "},
	}
	counts := map[string]string{}
	for _, test := range tests {
		client := fake.NewClientset()
		client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
			review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
			review.Status.Allowed = test.allowed || review.Spec.ResourceAttributes == nil || review.Spec.ResourceAttributes.Group != meshGroup
			return true, review, nil
		})
		s := &Subject{
			Client: client, Dynamic: dynamicfake.NewSimpleDynamicClient(runtime.NewScheme()), Raw: test.raw, Now: time.Now,
			Server: &Server{}, seen: newSeen(t.Context()),
		}
		p := rights()
		r := p.ask(t.Context(), s)
		got := string(r.State) + ": " + r.Message
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		counts[test.name] = r.Message
	}
	if counts["served and allowed"] == counts["no such group"] {
		t.Errorf("got %q both with and without such objects", counts["no such group"])
	}
}
