package controlplane

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestObjects(t *testing.T) {
	t.Parallel()
	objects, err := Objects([]byte(`# a comment alone
---
---
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: shop}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: two}}
- {apiVersion: v1, kind: Secret, metadata: {name: three}}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, object := range objects {
		got = append(got, describe(object))
	}
	if diff := cmp.Diff(got, []string{"ConfigMap shop/one", "Namespace two", "Secret three"}); diff != "" {
		t.Errorf("objects (-got +want):\n%s", diff)
	}

	if _, err := Objects([]byte("kind: [")); err == nil {
		t.Error("broken YAML: got no error")
	}
}
