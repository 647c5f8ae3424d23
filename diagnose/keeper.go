package diagnose

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"holdfast.dev/holdfast/report"
)

// keeper is a program that holds an object as it is written elsewhere, and undoes what is changed by hand.
type keeper struct {
	who   string // Argo CD application shop
	where string // where the change has to be made to last
	again string // the command that brings back what was deleted or changed
	lasts bool   // a change by hand stays until the next release
}

// keeperOf reads from an object's labels and annotations who keeps it; nil where nobody has left a mark.
//
// Marks: Helm 3 and 4 (pkg/action/validate.go), Argo CD (docs/user-guide/resource_tracking.md at 3.0), Flux
// (kustomize-controller and helm-controller at v2: the labels NAME and NAMESPACE of their groups).
func keeperOf(labels, annotations map[string]string) *keeper {
	annotation := func(key string) string { return report.Word(annotations[key]) } // labels are plain words, annotations anything
	const argo, flux, fluxHelm = "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/"
	switch {
	case labels[fluxHelm+"name"] != "":
		name, of := labels[fluxHelm+"name"], labels[fluxHelm+"namespace"]
		again := fmt.Sprintf("flux -n %s reconcile helmrelease %s --force", of, name)
		return &keeper{who: "Flux HelmRelease " + of + "/" + name, where: "its values", again: again}
	case labels[flux+"name"] != "":
		name, of := labels[flux+"name"], labels[flux+"namespace"]
		again := fmt.Sprintf("flux -n %s reconcile kustomization %s --with-source", of, name)
		return &keeper{who: "Flux Kustomization " + of + "/" + name, where: "its source", again: again}
	case labels[argo+"instance"] != "" || annotations[argo+"tracking-id"] != "":
		name := labels[argo+"instance"]
		if name == "" {
			name, _, _ = strings.Cut(annotation(argo+"tracking-id"), ":")
		}
		return &keeper{who: "Argo CD application " + name, where: "its source", again: "argocd app sync " + name}
	case annotations["meta.helm.sh/release-name"] != "":
		name, of := annotation("meta.helm.sh/release-name"), annotation("meta.helm.sh/release-namespace")
		again := fmt.Sprintf("helm -n %s get manifest %s | kubectl -n %s apply -f -", of, name, of)
		return &keeper{who: "Helm release " + of + "/" + name, where: "its values", again: again, lasts: true}
	}
	return nil
}

// owned says who has changed an object last, and who will undo a change that is made by hand.
func (s *Subject) owned(o metav1.Object) string {
	return steps(s.changed(o), kept(o.GetLabels(), o.GetAnnotations()))
}

// changed says who has changed an object last, and when, by what the API server has noted; "" where that was long ago, or no
// person's doing and no person's program's.
func (s *Subject) changed(o metav1.Object) string {
	const most = 24 * time.Hour
	var last *metav1.ManagedFieldsEntry
	for _, f := range o.GetManagedFields() {
		if f.Time == nil || f.Subresource == "status" || byItself(f.Manager) {
			continue
		}
		if last == nil || last.Time.Before(f.Time) {
			last = &f
		}
	}
	if last == nil {
		return ""
	}
	ago := max(0, s.Now().Sub(last.Time.Time))
	if ago > most {
		return ""
	}
	return fmt.Sprintf("Last changed %s ago by %s.", duration.HumanDuration(ago), report.Word(last.Manager))
}

// byItself tells that a manager of fields is one of ourselves, or of those who keep objects as somebody has asked: the cainjector of
// cert-manager, and what comes with the API server.
func byItself(manager string) bool {
	return manager == ourName || strings.HasSuffix(manager, "cainjector") || strings.HasPrefix(manager, "kube-") || manager == "kubelet"
}

// kept says who will undo a change that is made by hand; "" where nobody will.
func kept(labels, annotations map[string]string) string {
	k := keeperOf(labels, annotations)
	switch {
	case k == nil:
		return ""
	case k.lasts:
		return fmt.Sprintf("%s wrote it: change %s too, or the next upgrade brings it back.", k.who, k.where)
	}
	return fmt.Sprintf("%s keeps it as it is in %s: change it there, or this is undone.", k.who, k.where)
}
