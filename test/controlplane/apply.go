package controlplane

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

// FieldManager owns the fields that Apply sets.
const FieldManager = "holdfast-test"

// kindTimeout is how long a kind may take to be served after its CustomResourceDefinition was created.
const kindTimeout = 10 * time.Second

// applier knows how to reach any object by its kind.
type applier struct {
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

func newApplier(config *rest.Config, client dynamic.Interface) (*applier, error) {
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make discovery client: %w", err)
	}
	return &applier{client: client, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))}, nil
}

// Apply applies every object of a YAML stream, server-side and by force. Namespaces and CustomResourceDefinitions come first,
// and kinds that are defined in the same stream are waited for; otherwise the order is that of the stream.
func (c *Cluster) Apply(ctx context.Context, stream []byte) error {
	objects, err := Objects(stream)
	if err != nil {
		return err
	}
	return c.ApplyObjects(ctx, objects)
}

// ApplyObjects does what Apply does, with objects that have been decoded.
func (c *Cluster) ApplyObjects(ctx context.Context, objects []*unstructured.Unstructured) error {
	ordered := slices.Clone(objects)
	slices.SortStableFunc(ordered, func(a, b *unstructured.Unstructured) int { return applyRank(a) - applyRank(b) })
	for _, object := range ordered {
		resource, err := c.resourceOf(ctx, object)
		if err != nil {
			return fmt.Errorf("apply %s: %w", describe(object), err)
		}
		options := metav1.ApplyOptions{FieldManager: FieldManager, Force: true}
		if _, err := resource.Apply(ctx, object.GetName(), object, options); err != nil {
			return fmt.Errorf("apply %s: %w", describe(object), err)
		}
	}
	return nil
}

// DeleteObjects deletes the objects, last first, and returns when they are gone. Those that are not there are passed over.
func (c *Cluster) DeleteObjects(ctx context.Context, objects []*unstructured.Unstructured) error {
	background := metav1.DeletePropagationBackground
	for _, object := range slices.Backward(objects) {
		resource, err := c.resourceOf(ctx, object)
		if err != nil {
			return fmt.Errorf("delete %s: %w", describe(object), err)
		}
		if err := ignoreNotFound(resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})); err != nil {
			return fmt.Errorf("delete %s: %w", describe(object), err)
		}
	}
	for _, object := range objects {
		resource, err := c.resourceOf(ctx, object)
		if err != nil {
			return fmt.Errorf("delete %s: %w", describe(object), err)
		}
		if err := WaitFor(ctx, "the end of "+describe(object), c.processes, func(ctx context.Context) error {
			_, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
			if err == nil {
				return errors.New("still there")
			}
			return ignoreNotFound(err)
		}); err != nil {
			return err
		}
	}
	return nil
}

// Objects decodes a stream of YAML documents. Empty documents are passed over and lists are taken apart.
func Objects(stream []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read YAML stream: %w", err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return nil, fmt.Errorf("decode YAML document %d: %w", len(objects)+1, err)
		}
		switch {
		case len(object.Object) == 0:
		case object.IsList():
			if err := object.EachListItem(func(item runtime.Object) error {
				objects = append(objects, item.(*unstructured.Unstructured))
				return nil
			}); err != nil {
				return nil, fmt.Errorf("take apart %s: %w", object.GetKind(), err)
			}
		default:
			objects = append(objects, object)
		}
	}
}

// resourceOf finds the resource of an object, and waits for it when its kind is not served yet.
func (c *Cluster) resourceOf(ctx context.Context, object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	ctx, cancel := context.WithTimeout(ctx, kindTimeout)
	defer cancel()
	kind := object.GroupVersionKind()
	var mapping *meta.RESTMapping
	if err := WaitFor(ctx, "kind "+kind.Kind, c.processes, func(context.Context) (err error) {
		if mapping, err = c.applier.mapper.RESTMapping(kind.GroupKind(), kind.Version); meta.IsNoMatchError(err) {
			c.applier.mapper.Reset()
		}
		return err
	}); err != nil {
		return nil, err
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return c.applier.client.Resource(mapping.Resource), nil
	}
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = corev1.NamespaceDefault
	}
	return c.applier.client.Resource(mapping.Resource).Namespace(namespace), nil
}

func applyRank(object *unstructured.Unstructured) int {
	switch object.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Kind: "Namespace"}, schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		return 0
	default:
		return 1
	}
}

func describe(object *unstructured.Unstructured) string {
	if namespace := object.GetNamespace(); namespace != "" {
		return fmt.Sprintf("%s %s/%s", object.GetKind(), namespace, object.GetName())
	}
	return object.GetKind() + " " + object.GetName()
}
