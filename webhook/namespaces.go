package webhook

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"holdfast.dev/holdfast/injectors"
)

// liveLook bounds the one look at a namespace that is not in the cache. It leaves most of the deadline of the webhook
// configuration (five seconds) for the answer.
const liveLook = 1500 * time.Millisecond

// Namespace returns the namespace with the hooks that see its pods. One that the cache does not hold yet, which is usual
// for a namespace and a pod that are created together, is looked up live, once.
func (c *Cluster) Namespace(ctx context.Context, name string) (*injectors.Namespace, error) {
	n, ok := get[*corev1.Namespace](c.namespaces, name)
	if !ok {
		var err error
		if n, err = c.lookLive(ctx, name); err != nil {
			c.failedLooks()
			return nil, fmt.Errorf("look up namespace %s: %w", name, err)
		}
		c.liveLooks()
	}
	s := c.current.Load()
	if s == nil { // the server is still starting: what comes after us is not known
		return newNamespace(n, nil), nil
	}
	return s.namespace(n), nil
}

func (c *Cluster) lookLive(ctx context.Context, name string) (*corev1.Namespace, error) {
	ctx, cancel := context.WithTimeout(ctx, liveLook)
	defer cancel()
	return c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
}

// forget drops what is remembered of a namespace that is gone.
func (c *Cluster) forget(object any) {
	if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	if n, ok := object.(*corev1.Namespace); ok {
		if s := c.current.Load(); s != nil {
			s.remembered.Delete(n.Name)
		}
	}
}
