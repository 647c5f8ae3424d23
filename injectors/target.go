package injectors

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Target is what is judged: a pod, or the pod inside a workload.
type Target struct {
	Kind string // Pod, Deployment, ...; the kind of the object under review
	Name string // empty for a pod that the API server has yet to name

	// Meta and Spec are those of the pod, or of the workload's pod template. They are read, never written.
	Meta *metav1.ObjectMeta
	Spec *corev1.PodSpec

	// Workload is the metadata of the workload around a template; nil for a pod.
	Workload *metav1.ObjectMeta

	// Job tells that the pod belongs, or will belong, to a Job.
	Job bool

	Namespace *Namespace
}

// Namespace is what a plan needs to know about the namespace of its target.
type Namespace struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string

	// Hooks are the mutating webhooks whose namespace selector matches, in the API server's call order.
	Hooks []*Hook
	// Registered are all of them, whether or not their namespace selector matches; none where that is not known.
	Registered []*Hook
}

// Template tells that the target is the pod inside a workload, which no pod webhook has seen yet.
func (t *Target) Template() bool { return t.Workload != nil }

// Annotation returns the pod's annotation, or "".
func (t *Target) Annotation(key string) string { return t.Meta.Annotations[key] }

// String names the target for people. A controller's pod has no name worth printing (the API server gives it one after
// admission): it is named by its owner.
func (t *Target) String() string {
	if t.Kind != "Pod" {
		return t.Kind + "/" + t.Name
	}
	if owner := metav1.GetControllerOfNoCopy(t.Meta); owner != nil {
		return owner.Kind + "/" + owner.Name
	}
	if t.Name == "" {
		return "Pod/" + t.Meta.GenerateName + "*"
	}
	return "Pod/" + t.Name
}

// PodTarget returns the target for a pod. namespace must not be nil.
func PodTarget(pod *corev1.Pod, namespace *Namespace) *Target {
	t := &Target{Kind: "Pod", Name: pod.Name, Meta: &pod.ObjectMeta, Spec: &pod.Spec, Namespace: namespace}
	if owner := metav1.GetControllerOfNoCopy(t.Meta); owner != nil && owner.Kind == "Job" {
		t.Job = true
	}
	return t
}
