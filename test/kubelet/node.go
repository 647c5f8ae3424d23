package kubelet

import (
	"context"
	"fmt"
	"runtime"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// register creates the Node, ready and with the address of its machine. Stop removes it, and what ran there.
func (k *Kubelet) register(ctx context.Context, version string) error {
	if version == "" {
		server, err := k.client.Discovery().ServerVersion()
		if err != nil {
			return fmt.Errorf("ask for the server's version: %w", err)
		}
		version = server.GitVersion
	}
	now := metav1.Now()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: k.name, Labels: map[string]string{corev1.LabelHostname: k.name, corev1.LabelOSStable: "linux"}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: k.machine.Addr().String()},
				{Type: corev1.NodeHostName, Address: k.name},
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: apiPort}},
			NodeInfo:        corev1.NodeSystemInfo{KubeletVersion: version, OperatingSystem: "linux", Architecture: runtime.GOARCH},
			Capacity:        allocatable(),
			Allocatable:     allocatable(),
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
				LastHeartbeatTime: now, LastTransitionTime: now,
			}},
		},
	}
	if _, err := k.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("register the Node: %w", err)
	}
	k.stops = append(k.stops, func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := k.client.CoreV1().Nodes().Delete(ctx, k.name, metav1.DeleteOptions{}); err != nil {
			k.logf("remove the Node: %v", err)
		}
	})
	// Admission taints a new Node, and it is the node lifecycle controller that would take the taint away.
	none := []byte(`{"spec":{"taints":null}}`)
	if _, err := k.client.CoreV1().Nodes().Patch(ctx, k.name, types.MergePatchType, none, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("take the taint from the Node: %w", err)
	}
	return nil
}

// allocatable is what containers without limits are told they have.
func allocatable() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory: resource.MustParse("8Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
}

// remove deletes a pod that has ended, or whose node has.
func (k *Kubelet) remove(ctx context.Context, pod *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	now := int64(0)
	options := metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID))}
	return k.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, options)
}

// seconds are a duration that an API type counts.
func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }
