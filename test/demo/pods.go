package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/kernel"
)

// patience is how long a controller may take.
const patience = 30 * time.Second

// Where Vault is: the ClusterIP of its Service, and an address that stands for one outside the cluster (RFC 5737).
const (
	vaultService = "10.96.7.7:8200"
	vaultOutside = "203.0.113.10:8200"
)

// namespaces creates those of the demo, waits until pods can be created in them, and shows them.
func (d *demo) namespaces(ctx context.Context) error {
	const file = directory + "namespaces.yaml"
	objects, err := d.objects(file)
	if err != nil {
		return err
	}
	if err := d.cluster.ApplyObjects(ctx, objects); err != nil {
		return err
	}
	for _, o := range objects {
		if err := d.cluster.CreateNamespace(ctx, o.GetName(), nil); err != nil { // it is there; waits for its ServiceAccount
			return err
		}
	}
	d.heading("The namespaces of this demo, from "+file, bold)
	_, err = d.kubectl(ctx, "get namespaces -l part-of=demo -L istio-injection,istio.io/rev,holdfast.dev/mode", false)
	return err
}

func (d *demo) objects(file string) ([]*unstructured.Unstructured, error) {
	data, err := os.ReadFile(filepath.Join(d.root, file))
	if err != nil {
		return nil, err
	}
	return controlplane.Objects(data)
}

// podOf waits for the pod of the newest ReplicaSet of a Deployment.
func (d *demo) podOf(ctx context.Context, namespace, deployment string) (*corev1.Pod, error) {
	var pod *corev1.Pod
	err := d.until(ctx, "the pod of "+namespace+"/"+deployment, func(ctx context.Context) (bool, error) {
		dep, err := d.client.AppsV1().Deployments(namespace).Get(ctx, deployment, metav1.GetOptions{})
		if err != nil || dep.Status.ObservedGeneration < dep.Generation || dep.Status.UpdatedReplicas == 0 {
			return false, err
		}
		pods, err := d.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + deployment})
		if err != nil || len(pods.Items) == 0 {
			return false, err
		}
		pod = &pods.Items[0]
		return true, nil
	})
	return pod, err
}

// failedCreate tells whether a ReplicaSet of the Deployment has said that it could not create a pod.
func (d *demo) failedCreate(namespace, deployment string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		events, err := d.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreate"})
		if err != nil {
			return false, err
		}
		for i := range events.Items {
			if strings.HasPrefix(events.Items[i].InvolvedObject.Name, deployment+"-") {
				return true, nil
			}
		}
		return false, nil
	}
}

// refuses tells whether Holdfast refuses the pod of a file in a namespace, tried as a dry run.
func (d *demo) refuses(namespace, name, file string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		_, err := d.baseline(ctx, file, name, namespace)
		if apierrors.IsForbidden(err) {
			return true, nil
		}
		return false, err
	}
}

func (d *demo) until(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, done); err != nil {
		return fmt.Errorf("wait for %s: %w", what, errors.Join(err, d.cluster.Err()))
	}
	return nil
}

// baseline creates the pod of a file (the one with the name, or that of a Deployment) in a namespace that is not Holdfast's, as
// a dry run: what the injectors alone make of it.
func (d *demo) baseline(ctx context.Context, file, name, namespace string) (*corev1.Pod, error) {
	objects, err := d.objects(file)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if o.GetName() != name {
			continue
		}
		fields := o.Object
		if o.GetKind() == "Deployment" {
			if fields, _, err = unstructured.NestedMap(o.Object, "spec", "template"); err != nil {
				return nil, err
			}
		}
		pod := &corev1.Pod{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, pod); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		pod.Name, pod.Namespace = name, namespace
		return d.client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}
	return nil, fmt.Errorf("%s holds no %s", file, name)
}

// shape reads a pod and, where the machine can, lets the kernel say which of its containers reach Vault.
func (d *demo) shape(ctx context.Context, pod *corev1.Pod, vault string) (shape, error) {
	s := shapeOf(pod)
	if d.rig == nil || vault == "" {
		return s, nil
	}
	to := netip.MustParseAddrPort(vault)
	results, err := d.rig.Play(ctx, pod, func(container string) []kernel.Destination {
		if strings.HasPrefix(container, "istio-") {
			return nil
		}
		return []kernel.Destination{{Addr: to.Addr(), Port: to.Port()}}
	})
	if err != nil {
		return s, fmt.Errorf("play %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	s.measured(results)
	return s, nil
}

// compare shows a Deployment's pod beside what becomes of it without Holdfast, and what was added. The remedies are those of
// the pod, after hold where that is in the template.
func (d *demo) compare(ctx context.Context, pod *corev1.Pod, deployment, without, file, vault string) (was, got shape, remedies []string, err error) {
	base, err := d.baseline(ctx, file, deployment, without)
	if err != nil {
		return was, got, nil, err
	}
	if was, err = d.shape(ctx, base, vault); err != nil {
		return was, got, nil, err
	}
	if got, err = d.shape(ctx, pod, vault); err != nil {
		return was, got, nil, err
	}
	owner, err := d.client.AppsV1().Deployments(pod.Namespace).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return was, got, nil, err
	}
	template := owner.Spec.Template.Annotations
	d.tables(was, got)
	if lines := added(template, was.annotations); len(lines) > 0 {
		d.additions("added to the template of the Deployment", lines)
		remedies = append(remedies, config.Hold) // templates get nothing else
	}
	own := maps.Clone(got.annotations)
	maps.DeleteFunc(own, func(key, value string) bool { return template[key] == value })
	d.additions("added to the pod", added(own, was.annotations))
	if applied := got.applied(); applied != "" {
		remedies = append(remedies, strings.Split(applied, ",")...)
	}
	return was, got, remedies, nil
}

// same shows that a pod is what it would be without Holdfast, but for what differs from one creation to the next.
func (d *demo) same(ctx context.Context, namespace, name, file string) error {
	const without = "without"
	pod, err := d.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	base, err := d.baseline(ctx, file, name, without)
	if err != nil {
		return err
	}
	was, err := normal(base)
	if err != nil {
		return err
	}
	got, err := normal(pod)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(was, got); diff != "" {
		return fmt.Errorf("pod %s/%s (-without +with Holdfast):\n%s", namespace, name, diff)
	}
	s := shapeOf(pod)
	d.line("")
	d.entry("order", strings.Join(s.inits, ", ")+" | "+strings.Join(s.mains, ", "), kindColumn)
	d.entry("added", "nothing: the pod "+name+" is what it is without Holdfast", kindColumn)
	return nil
}

// normal is what makes a pod, as text, without what differs from one creation or namespace to the next.
func normal(pod *corev1.Pod) (string, error) {
	annotations := maps.Clone(pod.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation) // kubectl's own
	if len(annotations) == 0 {
		annotations = nil
	}
	text, err := json.MarshalIndent(corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels, Annotations: annotations}, Spec: pod.Spec}, "", " ")
	if err != nil {
		return "", err
	}
	text = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`).ReplaceAll(text, []byte("kube-api-access"))
	return strings.ReplaceAll(string(text), "namespaces/"+pod.Namespace+"/", "namespaces/NAMESPACE/"), nil
}

// audit is the API server's record of the creation of a pod.
func (d *demo) audit(ctx context.Context, namespace, name string) (controlplane.AuditEvent, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return d.cluster.WaitAuditEvent(ctx, controlplane.AuditQuery{Verb: "create", Resource: "pods", Namespace: namespace, Name: name})
}

// record is what Holdfast's webhooks left in the API server's audit log, by key: <webhook>/<name>.
func (d *demo) record(ctx context.Context, namespace, name string) (map[string]string, error) {
	event, err := d.audit(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	record := maps.Clone(event.Annotations)
	maps.DeleteFunc(record, func(key, _ string) bool { return !strings.Contains(key, ".holdfast.dev/") })
	return record, nil
}

// changes counts in the API server's audit log how often Holdfast changed the pod, and fails where it was not asked at all.
func (d *demo) changes(ctx context.Context, namespace, name string) (int, error) {
	event, err := d.audit(ctx, namespace, name)
	if err != nil {
		return 0, err
	}
	asked, changed := 0, 0
	for key, value := range event.Annotations {
		if !strings.HasPrefix(key, "mutation.webhook.admission.k8s.io/") || !strings.Contains(value, ".holdfast.dev") {
			continue
		}
		asked++
		if strings.Contains(value, `"mutated":true`) {
			changed++
		}
	}
	if asked == 0 {
		return 0, fmt.Errorf("the API server did not ask Holdfast about %s/%s", namespace, name)
	}
	return changed, nil
}
