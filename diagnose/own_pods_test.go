package diagnose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestOutOfMeshes: what is put back is what the manifests have.
func TestOutOfMeshes(t *testing.T) {
	t.Parallel()
	objects, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		labels, _, _ := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "labels")
		delete(labels, nameLabel)
		delete(labels, componentLabel)
		if diff := cmp.Diff(labels, meshLabels()); diff != "" {
			t.Errorf("labels (-manifests +ours):\n%s", diff)
		}
		annotations, _, _ := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "annotations")
		delete(annotations, "kubectl.kubernetes.io/default-container")
		if diff := cmp.Diff(annotations, meshAnnotations()); diff != "" {
			t.Errorf("annotations (-manifests +ours):\n%s", diff)
		}
		return
	}
	t.Error("got no Deployment from the manifests")
}
