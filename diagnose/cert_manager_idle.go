package diagnose

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The parts of cert-manager: who issues and renews certificates, and who puts CAs into webhook configurations. They are the values of
// app.kubernetes.io/name of their Deployments (cert-manager, deploy/charts/cert-manager/templates at 1.21). Others' charts give all
// parts the name of the first, and tell them apart by app.kubernetes.io/component, which is there in either case.
const issuing, injecting = "cert-manager", "cainjector"

// brief is how long a part may be without a ready pod while nodes are drained and pods moved.
const brief = 5 * time.Minute

// idler is a part of cert-manager that has no ready pod.
type idler struct{ deployment *appsv1.Deployment }

// idle looks for a part of cert-manager; nil where it works, or is not found, or may not be looked for.
func (s *Subject) idle(ctx context.Context, part string) *idler {
	all, _ := s.certManagers(ctx) // what may not be read is taken to work
	var idle *idler
	for i := range all {
		d := &all[i]
		switch {
		case partOf(d) != part:
		case !s.rests(d):
			return nil
		case idle == nil:
			idle = &idler{d}
		}
	}
	return idle
}

// partOf is the part of cert-manager that a Deployment runs; "" for one that is of no matter here.
func partOf(d *appsv1.Deployment) string {
	name, component := d.Labels[nameLabel], d.Labels[componentLabel]
	switch {
	case name == injecting || component == injecting:
		return injecting
	case component == "" || component == "controller":
		return issuing
	}
	return ""
}

// rests tells that a Deployment is scaled to none, or has had no ready pod for a while.
func (s *Subject) rests(d *appsv1.Deployment) bool {
	if value32(d.Spec.Replicas) == 0 {
		return true
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentAvailable && s.Now().Sub(c.LastTransitionTime.Time) < brief {
			return false
		}
	}
	return d.Status.ReadyReplicas == 0
}

// unfound is the clause that tells what is known to be wrong with cert-manager itself: "" where nothing is.
func (s *Subject) unfound(ctx context.Context) string {
	if i := s.idle(ctx, issuing); i != nil {
		return ", and " + i.what()
	}
	if all, err := s.certManagers(ctx); err == nil && len(all) == 0 {
		return ", and no Deployment of cert-manager is found"
	}
	return ""
}

func (s *Subject) certManagers(ctx context.Context) ([]appsv1.Deployment, error) {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	return s.seen.certManagers.get(ctx, s.seen.life, func(ctx context.Context) ([]appsv1.Deployment, error) {
		l, err := s.Client.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: nameLabel + " in (" + issuing + "," + injecting + ")"})
		if err != nil {
			return nil, fmt.Errorf("list deployments of cert-manager: %w", err)
		}
		return l.Items, nil
	})
}

// what is said of it.
func (i *idler) what() string {
	if value32(i.deployment.Spec.Replicas) == 0 {
		return "Deployment " + i.deployment.Namespace + "/" + i.deployment.Name + " is scaled to 0"
	}
	return "Deployment " + i.deployment.Namespace + "/" + i.deployment.Name + " has no ready pod"
}

// fix has it work again.
func (i *idler) fix() string {
	d := i.deployment
	of := "kubectl -n " + d.Namespace
	if value32(d.Spec.Replicas) == 0 {
		return steps("Scale it up, unless somebody has switched it off on purpose:", of+" scale deploy/"+d.Name+" --replicas=1", kept(d.Labels, d.Annotations))
	}
	return steps("Its pods and their log say why it is not ready:", of+" get pods -o wide", of+" logs deploy/"+d.Name+" --tail=50",
		lastly(of+" rollout restart deploy/"+d.Name))
}
