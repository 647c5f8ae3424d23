package controlplane

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// Where Istio's image has its program, and whom it runs as: pilot/docker/Dockerfile.pilot in the module of test/modules/istio.
	discoveryPath = "/usr/local/bin/pilot-discovery"
	discoveryUser = 1337
)

// startPods has the node run the Deployment as the chart renders it.
func (i *Istiod) startPods(ctx context.Context, deployment *unstructured.Unstructured) error {
	image, err := onlyImage(deployment)
	if err != nil {
		return err
	}
	i.options.Node.Provide(Program{Image: image, Path: discoveryPath, Binary: i.cluster.binaries.PilotDiscovery, User: discoveryUser})
	return i.cluster.ApplyObjects(ctx, i.objects)
}

// pods are those of the Deployment.
func (i *Istiod) pods(ctx context.Context) ([]corev1.Pod, error) {
	selector := metav1.ListOptions{LabelSelector: "istio=pilot,istio.io/rev=" + cmp.Or(i.options.Revision, "default")}
	list, err := i.cluster.client.CoreV1().Pods(IstioNamespace).List(ctx, selector)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// podLogs are the last lines of each pod, to be added to an error.
func (i *Istiod) podLogs() string {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	pods, err := i.pods(ctx)
	if err != nil {
		return "\n" + err.Error()
	}
	lines := int64(15)
	var logs strings.Builder
	for k := range pods {
		log, err := i.cluster.client.CoreV1().Pods(IstioNamespace).GetLogs(pods[k].Name, &corev1.PodLogOptions{TailLines: &lines}).DoRaw(ctx)
		if err != nil {
			log = []byte(err.Error())
		}
		fmt.Fprintf(&logs, "\n%s: %s: %s", pods[k].Name, pods[k].Status.Phase, log)
	}
	return logs.String()
}

// stopPods scales the Deployment to none, where it is there, and returns when its pods are gone.
func (i *Istiod) stopPods() {
	ctx, cancel := context.WithTimeout(context.Background(), istiodTimeout)
	defer cancel()
	none := []byte(`{"spec":{"replicas":0}}`)
	deployments := i.cluster.client.AppsV1().Deployments(IstioNamespace)
	if _, err := deployments.Patch(ctx, i.options.name(), types.MergePatchType, none, metav1.PatchOptions{}); err != nil {
		return
	}
	_ = WaitFor(ctx, "the end of "+i.options.name(), i.cluster.processes, func(ctx context.Context) error {
		pods, err := i.pods(ctx)
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d pods are there", len(pods))
		}
		return err
	})
}
