package controlplane

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Node runs pods: a kubelet of test/kubelet.
type Node interface {
	// Provide has the node run pods with this image from now on.
	Provide(Program)
}

// Program stands for an image: one static binary and nothing else, which is its entrypoint.
type Program struct {
	Image  string // as pods name it
	Path   string // in the container
	Binary string // on this machine
	User   int64  // whom it runs as where the pod does not say, as user and as group
}

// onlyImage is that of the one container of a Deployment.
func onlyImage(deployment *unstructured.Unstructured) (string, error) {
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		return "", errors.Join(fmt.Errorf("not one container in Deployment %s", deployment.GetName()), err)
	}
	image, _, err := unstructured.NestedString(containers[0].(map[string]any), "image")
	return image, err
}
