package kubelet

import (
	"bytes"
	"context"
	"encoding/json"
	"os"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// report tells the API server what it has not been told.
func (w *worker) report(ctx context.Context) {
	pod, status := w.pod(), w.podStatus()
	if w.reported != nil && apiequality.Semantic.DeepEqual(*w.reported, status) {
		return
	}
	// With the UID, a pod of the same name is not taken for this one.
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err == nil {
		_, err = w.kubelet.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	switch {
	case err == nil:
		w.reported = status.DeepCopy()
	case !apierrors.IsNotFound(err) && ctx.Err() == nil:
		w.kubelet.logf("report on pod %s: %v", pod.Name, err)
	}
}

// lastWords is what a container has said when it ended, where its policy asks for that: as much of the end of its log as a kubelet
// keeps (k8s.io/kubernetes, pkg/kubelet/kuberuntime/kuberuntime_container.go and pkg/kubelet/container/runtime.go at 1.36).
func lastWords(c *corev1.Container, code int32, log string) string {
	if c.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError || code == 0 {
		return ""
	}
	data, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	const mostBytes, mostLines = 2048, 80
	data = data[max(0, len(data)-mostBytes):]
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	return string(bytes.Join(lines[max(0, len(lines)-mostLines):], nil))
}

// podStatus is what is to be said of the pod.
func (w *worker) podStatus() corev1.PodStatus {
	status := corev1.PodStatus{
		Phase: corev1.PodPending, HostIP: w.kubelet.machine.Addr().String(), StartTime: &w.began,
		ContainerStatuses: []corev1.ContainerStatus{w.status},
	}
	status.HostIPs = []corev1.HostIP{{IP: status.HostIP}}
	if host := w.machine.Load(); host != nil {
		status.PodIP = host.Addr().String()
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	}
	switch state := w.status.State; {
	case state.Terminated != nil && state.Terminated.ExitCode == 0:
		status.Phase = corev1.PodSucceeded
	case state.Terminated != nil:
		status.Phase = corev1.PodFailed
	case state.Running != nil || w.status.LastTerminationState.Terminated != nil:
		status.Phase = corev1.PodRunning
	}
	ready, reason := corev1.ConditionFalse, "ContainersNotReady"
	if w.status.Ready {
		ready, reason = corev1.ConditionTrue, ""
	}
	if w.turned.IsZero() || w.reported != nil && w.reported.ContainerStatuses[0].Ready != w.status.Ready {
		w.turned = metav1.Now()
	}
	status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: w.began},
		{Type: corev1.PodReady, Status: ready, Reason: reason, LastTransitionTime: w.turned},
		{Type: corev1.ContainersReady, Status: ready, Reason: reason, LastTransitionTime: w.turned},
	}
	return status
}
