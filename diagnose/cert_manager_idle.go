package diagnose

import (
	"context"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The Deployments of cert-manager by their label app.kubernetes.io/name: who issues and renews certificates, and who puts CAs into
// webhook configurations (cert-manager, deploy/charts/cert-manager/templates at 1.21).
const issuing, injecting = "cert-manager", "cainjector"

// idler is a part of cert-manager that has no ready pod.
type idler struct{ deployment *appsv1.Deployment }

// idle looks for a part of cert-manager; nil where it works, or is not found, or may not be looked for.
func (s *Subject) idle(ctx context.Context, part string) *idler {
	all, err := s.partsOf(ctx, part)
	if err != nil || len(all) == 0 || slices.ContainsFunc(all, func(d appsv1.Deployment) bool { return d.Status.ReadyReplicas > 0 }) {
		return nil
	}
	return &idler{&all[0]}
}

// unfound is the clause that tells what is known to be wrong with cert-manager itself: "" where nothing is.
func (s *Subject) unfound(ctx context.Context) string {
	if i := s.idle(ctx, issuing); i != nil {
		return ", and " + i.what()
	}
	if all, err := s.partsOf(ctx, issuing); err == nil && len(all) == 0 {
		return ", and no Deployment of cert-manager is found"
	}
	return ""
}

func (s *Subject) partsOf(ctx context.Context, part string) ([]appsv1.Deployment, error) {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	all, err := s.Client.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: nameLabel + "=" + part})
	if err != nil {
		return nil, err
	}
	return all.Items, nil
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
