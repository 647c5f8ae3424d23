package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"holdfast.dev/holdfast/test/holdfast"
)

func TestOn(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{"": false, "0": false, "no": false, "false": false, "1": true, "yes": true} {
		if got := on(value); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

func TestFileHasNoColours(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "page"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if colours(f) {
		t.Error("a file is taken for a terminal")
	}
}

// TestByURL holds that every webhook gets the CA of the certificate that the server is given, and nothing else changes.
func TestByURL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var o holdfast.Options
	if err := byURL(&o, dir); err != nil {
		t.Fatal(err)
	}
	configuration := func(client map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"kind": "ValidatingWebhookConfiguration",
			"webhooks": []any{
				map[string]any{"name": "one", "clientConfig": client},
			},
		}}
	}
	service := &unstructured.Unstructured{Object: map[string]any{"kind": "Service"}}
	objects := []*unstructured.Unstructured{service.DeepCopy(), configuration(map[string]any{"url": "https://127.0.0.1"})}
	o.Edit(objects)
	bundle, _, err := unstructured.NestedString(objects[1].Object["webhooks"].([]any)[0].(map[string]any), "clientConfig", "caBundle")
	if err != nil || bundle == "" {
		t.Fatalf("caBundle: got %q, %v", bundle, err)
	}
	want := []*unstructured.Unstructured{service, configuration(map[string]any{"url": "https://127.0.0.1", "caBundle": bundle})}
	if diff := cmp.Diff(objects, want); diff != "" {
		t.Errorf("objects (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(o.Args, []string{"--cert-dir=" + filepath.Join(dir, "holdfast-certificate")}); diff != "" {
		t.Errorf("arguments (-got +want):\n%s", diff)
	}
}
