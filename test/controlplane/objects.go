package controlplane

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	discoveryv1ac "k8s.io/client-go/applyconfigurations/discovery/v1"
)

// CreateNamespace creates a namespace with labels and waits for its default ServiceAccount, without which no pod is admitted.
// It is no error if the namespace is there; its labels stay as they are.
func (c *Cluster) CreateNamespace(ctx context.Context, name string, labels map[string]string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	_, err := c.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return c.waitServiceAccount(ctx, name)
}

func (c *Cluster) waitServiceAccount(ctx context.Context, namespace string) error {
	return WaitFor(ctx, "the default ServiceAccount of namespace "+namespace, c.processes, func(ctx context.Context) error {
		_, err := c.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// AddNode creates a ready Node with the given kubelet version, such as v1.33.1. No kubelet stands behind it.
func (c *Cluster) AddNode(ctx context.Context, name, kubeletVersion string) error {
	now := metav1.Now()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{
			NodeInfo: corev1.NodeSystemInfo{KubeletVersion: kubeletVersion},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "MadeByHand",
				LastHeartbeatTime: now, LastTransitionTime: now,
			}},
		},
	}
	if _, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("add node %s: %w", name, err)
	}
	return nil
}

// Expose makes addr the one ready endpoint behind a Service: ports are the numbers that addr listens on, by the names of the
// Service's ports. It writes an EndpointSlice beside the one that a selector without pods produces. Called again, it replaces
// what it wrote.
func (c *Cluster) Expose(ctx context.Context, namespace, service string, addr netip.Addr, ports map[string]int32) error {
	addressType := discoveryv1.AddressTypeIPv4
	if addr.Is6() {
		addressType = discoveryv1.AddressTypeIPv6
	}
	slice := discoveryv1ac.EndpointSlice(exposedName(service), namespace).
		WithLabels(map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: FieldManager}).
		WithAddressType(addressType).
		WithEndpoints(discoveryv1ac.Endpoint().
			WithAddresses(addr.String()).
			WithConditions(discoveryv1ac.EndpointConditions().WithReady(true)))
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		slice.WithPorts(discoveryv1ac.EndpointPort().WithName(name).WithPort(ports[name]).WithProtocol(corev1.ProtocolTCP))
	}
	options := metav1.ApplyOptions{FieldManager: FieldManager, Force: true}
	if _, err := c.client.DiscoveryV1().EndpointSlices(namespace).Apply(ctx, slice, options); err != nil {
		return fmt.Errorf("expose %s behind Service %s/%s: %w", addr, namespace, service, err)
	}
	return nil
}

// Unexpose deletes what Expose wrote.
func (c *Cluster) Unexpose(ctx context.Context, namespace, service string) error {
	err := c.client.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, exposedName(service), metav1.DeleteOptions{})
	if err := ignoreNotFound(err); err != nil {
		return fmt.Errorf("unexpose Service %s/%s: %w", namespace, service, err)
	}
	return nil
}

func exposedName(service string) string { return service + "-" + FieldManager }

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
