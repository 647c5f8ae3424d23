package holdfast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/test/controlplane"
)

const (
	// entrypoint is that of the image: Dockerfile.
	entrypoint = "/holdfast"
	// askTimeout bounds what is asked about pods where there is no context.
	askTimeout = 10 * time.Second
	// endTimeout is longer than the grace period of the pods.
	endTimeout = time.Minute
)

var errPods = errors.New("it is run as pods: use kubectl scale or kubectl rollout restart")

// pods are those of the Deployment.
type pods struct {
	client                *kubernetes.Clientset
	namespace, deployment string
	selector              string
	container             corev1.Container
}

// replicas are those that the Deployment is given.
func (o Options) replicas() int64 {
	if o.Node == nil {
		return 0
	}
	return int64(max(o.Replicas, 1))
}

// installPods applies the manifests for the node to run, with the image and the arguments of the options.
func (i *Installation) installPods(ctx context.Context, o Options) error {
	client, err := kubernetes.NewForConfig(i.cluster.Config())
	if err != nil {
		return err
	}
	p := &pods{client: client, namespace: i.namespace, deployment: i.deployment, container: i.container}
	for _, object := range i.objects {
		if object.GetKind() != "Deployment" {
			continue
		}
		var d appsv1.Deployment
		if err := convert(object, &d); err != nil {
			return err
		}
		p.selector = metav1.FormatLabelSelector(d.Spec.Selector)
		containers, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		if err != nil {
			return err
		}
		args := make([]any, 0, len(i.container.Args)+len(o.Args))
		for _, arg := range slices.Concat(i.container.Args, o.Args) {
			args = append(args, arg)
		}
		containers[0].(map[string]any)["args"] = args
		if err := unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers"); err != nil {
			return err
		}
	}
	o.Node.Provide(controlplane.Program{Image: i.container.Image, Path: entrypoint, Binary: o.Binary, User: 65532})
	if err := i.cluster.ApplyObjects(ctx, i.objects); err != nil {
		return err
	}
	i.pods = p
	return nil
}

// ready waits until all that the Deployment wants are there and ready.
func (p *pods) ready(ctx context.Context) error {
	return controlplane.WaitFor(ctx, "the Deployment to be available", nil, func(ctx context.Context) error {
		_, err := p.available(ctx)
		return err
	})
}

// rolledOut waits until, besides, those that it no longer wants are gone.
func (p *pods) rolledOut(ctx context.Context) error {
	return controlplane.WaitFor(ctx, "the Deployment to be rolled out", nil, func(ctx context.Context) error {
		want, err := p.available(ctx)
		if err != nil {
			return err
		}
		all, err := p.list(ctx)
		if err == nil && len(all) != want {
			err = fmt.Errorf("%d pods are there, %d wanted", len(all), want)
		}
		return err
	})
}

// available is how many replicas the Deployment wants: an error unless it has as many, all of its present template and available.
func (p *pods) available(ctx context.Context) (int, error) {
	d, err := p.client.AppsV1().Deployments(p.namespace).Get(ctx, p.deployment, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	want := *d.Spec.Replicas
	if d.Status.ObservedGeneration != d.Generation || d.Status.UpdatedReplicas != want || d.Status.AvailableReplicas != want || d.Status.Replicas != want {
		return 0, fmt.Errorf("%d replicas are wanted; generation %d, %+v", want, d.Generation, d.Status)
	}
	return int(want), nil
}

func (p *pods) list(ctx context.Context) ([]corev1.Pod, error) {
	list, err := p.client.CoreV1().Pods(p.namespace).List(ctx, metav1.ListOptions{LabelSelector: p.selector})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// metrics is where one pod has its metrics, HOST:PORT; without a host when none is ready.
func (p *pods) metrics() string {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	port := ""
	for _, named := range p.container.Ports {
		if named.Name == "metrics" {
			port = strconv.Itoa(int(named.ContainerPort))
		}
	}
	all, _ := p.list(ctx) // without an answer there are none
	for k := range all {
		if status := all[k].Status.ContainerStatuses; all[k].DeletionTimestamp == nil && len(status) > 0 && status[0].Ready {
			return net.JoinHostPort(all[k].Status.PodIP, port)
		}
	}
	return net.JoinHostPort("", port)
}

// logs are the last lines of each pod.
func (p *pods) logs() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	all, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	lines := int64(15)
	var data []byte
	for k := range all {
		some, err := p.client.CoreV1().Pods(p.namespace).GetLogs(all[k].Name, &corev1.PodLogOptions{TailLines: &lines}).DoRaw(ctx)
		if err != nil {
			some = []byte(err.Error() + "\n")
		}
		data = append(append(data, "pod "+all[k].Name+":\n"...), some...)
	}
	return data, nil
}

// end scales to none and returns when the pods are gone, or have taken too long.
func (p *pods) end() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	none := []byte(`{"spec":{"replicas":0}}`)
	if _, err := p.client.AppsV1().Deployments(p.namespace).Patch(ctx, p.deployment, types.MergePatchType, none, metav1.PatchOptions{}); err != nil {
		return
	}
	now := int64(0)
	_ = controlplane.WaitFor(ctx, "the end of the pods", nil, func(ctx context.Context) error {
		all, err := p.list(ctx)
		if err == nil && len(all) > 0 {
			err = fmt.Errorf("%d pods are there", len(all))
		}
		for k := range all { // nobody waits for their last answers
			_ = p.client.CoreV1().Pods(p.namespace).Delete(ctx, all[k].Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		}
		return err
	})
}
