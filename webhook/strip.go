package webhook

import (
	"maps"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/injectors"
)

// stripper reduces objects to what is read of them, by the catalogue's word.
type stripper struct{ catalogue *injectors.Catalogue }

// strip reduces an object before a cache keeps it.
func (s stripper) strip(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: bare(&o.ObjectMeta, true)}, nil
	case *corev1.Service:
		return stripService(o), nil
	case *corev1.Node:
		n := &corev1.Node{ObjectMeta: bare(&o.ObjectMeta, false)}
		n.Status.NodeInfo.KubeletVersion = o.Status.NodeInfo.KubeletVersion
		return n, nil
	case *corev1.ConfigMap:
		return s.configMap(o), nil
	case *appsv1.Deployment:
		return s.deployment(o), nil
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		o.ManagedFields = nil
		delete(o.Annotations, corev1.LastAppliedConfigAnnotation)
		return o, nil
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		o.ManagedFields = nil
		delete(o.Annotations, corev1.LastAppliedConfigAnnotation)
		return o, nil
	}
	return object, nil
}

func bare(m *metav1.ObjectMeta, annotated bool) metav1.ObjectMeta {
	out := metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
	if annotated {
		out.Labels = m.Labels
		out.Annotations = m.Annotations
		delete(out.Annotations, corev1.LastAppliedConfigAnnotation)
	}
	return out
}

func stripService(o *corev1.Service) *corev1.Service {
	s := &corev1.Service{ObjectMeta: bare(&o.ObjectMeta, false)}
	s.Spec.ClusterIPs = o.Spec.ClusterIPs
	s.Spec.Selector = o.Spec.Selector
	s.Spec.Ports = make([]corev1.ServicePort, len(o.Spec.Ports))
	for i := range o.Spec.Ports {
		p := &o.Spec.Ports[i]
		s.Spec.Ports[i] = corev1.ServicePort{Port: p.Port, TargetPort: p.TargetPort, Name: p.Name, AppProtocol: p.AppProtocol, Protocol: p.Protocol}
	}
	return s
}

// configMap keeps the data of a mesh's own ConfigMaps, and of those only the keys that hold settings.
func (s stripper) configMap(o *corev1.ConfigMap) *corev1.ConfigMap {
	c := &corev1.ConfigMap{ObjectMeta: bare(&o.ObjectMeta, false)}
	for _, key := range s.catalogue.ReadsConfigMap(o.Name) {
		if value, ok := o.Data[key]; ok {
			if c.Data == nil {
				c.Data = map[string]string{}
			}
			c.Data[key] = value
		}
	}
	return c
}

// deployment keeps the labels, and of the containers the images and the literal values that are read.
func (s stripper) deployment(o *appsv1.Deployment) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: bare(&o.ObjectMeta, false)}
	d.Labels = o.Labels
	for i := range o.Spec.Template.Spec.Containers {
		c := corev1.Container{Image: o.Spec.Template.Spec.Containers[i].Image}
		for _, e := range o.Spec.Template.Spec.Containers[i].Env {
			if e.ValueFrom == nil && s.catalogue.ReadsVariable(e.Name) {
				c.Env = append(c.Env, e)
			}
		}
		c.Args = s.flags(slices.Concat(o.Spec.Template.Spec.Containers[i].Command, o.Spec.Template.Spec.Containers[i].Args))
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, c)
	}
	return d
}

// flags keeps the flags that are read, each as NAME=VALUE.
func (s stripper) flags(args []string) []string {
	var kept []string
	for name, value := range injectors.Flags(args) {
		if s.catalogue.ReadsFlag(name) {
			kept = append(kept, name+"="+value)
		}
	}
	slices.Sort(kept)
	return kept
}

// differs tells whether two versions of a stripped object differ in what is read of them.
func differs(before, after any) bool {
	switch b := before.(type) {
	case *corev1.Node:
		a, ok := after.(*corev1.Node)
		return !ok || a.Status.NodeInfo.KubeletVersion != b.Status.NodeInfo.KubeletVersion
	case *corev1.ConfigMap:
		a, ok := after.(*corev1.ConfigMap)
		return !ok || !maps.Equal(a.Data, b.Data)
	case *appsv1.Deployment:
		a, ok := after.(*appsv1.Deployment)
		return !ok || !maps.Equal(a.Labels, b.Labels) || !equality.Semantic.DeepEqual(a.Spec.Template.Spec, b.Spec.Template.Spec)
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		a, ok := after.(*admissionregistrationv1.MutatingWebhookConfiguration)
		return !ok || !maps.Equal(a.Labels, b.Labels) || !equality.Semantic.DeepEqual(a.Webhooks, b.Webhooks)
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		a, ok := after.(*admissionregistrationv1.ValidatingWebhookConfiguration)
		return !ok || !maps.Equal(a.Labels, b.Labels) || !equality.Semantic.DeepEqual(a.Webhooks, b.Webhooks)
	}
	return true
}

// reduced returns what injectors read of a stripped Deployment.
func reduced(d *appsv1.Deployment) injectors.Deployment {
	out := injectors.Deployment{Namespace: d.Namespace, Name: d.Name, Labels: d.Labels, Env: map[string]string{}}
	for i := range d.Spec.Template.Spec.Containers {
		c := &d.Spec.Template.Spec.Containers[i]
		out.Images = append(out.Images, c.Image)
		for _, e := range c.Env {
			out.Env[e.Name] = e.Value
		}
		for _, flag := range c.Args {
			name, value, _ := strings.Cut(flag, "=")
			if out.Flags == nil {
				out.Flags = map[string]string{}
			}
			out.Flags[name] = value
		}
	}
	return out
}
