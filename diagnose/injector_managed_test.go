package diagnose

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
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
		{"nobody knows the kind", nil, apierrors.NewNotFound(schema.GroupResource{}, "x"), "not-applicable: "},
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
				Raw: func(_ context.Context, path string) ([]byte, error) {
					if path != "/apis/"+meshGroup {
						return nil, nil
					}
					return []byte(`{"kind":"APIGroup","preferredVersion":{"version":"v1beta1"}}`), test.err
				},
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
