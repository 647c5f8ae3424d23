package injectors

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// WorkloadTarget returns the target for the pod inside a workload.
func WorkloadTarget(workload runtime.Object, namespace *Namespace) (*Target, error) {
	switch w := workload.(type) {
	case *appsv1.Deployment:
		return template("Deployment", &w.ObjectMeta, &w.Spec.Template, namespace), nil
	case *appsv1.StatefulSet:
		return template("StatefulSet", &w.ObjectMeta, &w.Spec.Template, namespace), nil
	case *appsv1.DaemonSet:
		return template("DaemonSet", &w.ObjectMeta, &w.Spec.Template, namespace), nil
	case *appsv1.ReplicaSet:
		return template("ReplicaSet", &w.ObjectMeta, &w.Spec.Template, namespace), nil
	case *corev1.ReplicationController:
		if w.Spec.Template == nil {
			return template("ReplicationController", &w.ObjectMeta, &corev1.PodTemplateSpec{}, namespace), nil
		}
		return template("ReplicationController", &w.ObjectMeta, w.Spec.Template, namespace), nil
	case *batchv1.Job:
		return template("Job", &w.ObjectMeta, &w.Spec.Template, namespace), nil
	case *batchv1.CronJob:
		return template("CronJob", &w.ObjectMeta, &w.Spec.JobTemplate.Spec.Template, namespace), nil
	}
	return nil, fmt.Errorf("%T is not a workload", workload)
}

func template(kind string, meta *metav1.ObjectMeta, pod *corev1.PodTemplateSpec, namespace *Namespace) *Target {
	name := meta.Name
	if name == "" {
		name = meta.GenerateName + "*"
	}
	return &Target{
		Kind: kind, Name: name, Meta: &pod.ObjectMeta, Spec: &pod.Spec, Workload: meta,
		Job: kind == "Job" || kind == "CronJob", Namespace: namespace,
	}
}
