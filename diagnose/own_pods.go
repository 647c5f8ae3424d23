package diagnose

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// ambientAnnotation is what Istio's node agent leaves on a pod whose traffic it redirects (istio, cni/pkg/util at 1.27).
const ambientAnnotation = "ambient.istio.io/redirection"

func ownPods() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF213", Name: "own-pods", Severity: report.Warning,
			Title: "the pods of Holdfast are in no mesh",
			Why:   "A mesh has put its proxy into the pods of Holdfast, in front of the server's port. The API server is in no mesh: where the mesh insists on its own TLS, calls end with EOF or \"connection reset\".",
			Fix:   "The manifests carry the labels and annotations that keep every known mesh out; put them back and restart the Deployment.",
		},
		Needs: []string{"HF210"},
		ask: func(ctx context.Context, s *Subject) Result {
			if l := s.needed["HF210"]; l != nil && l.State == NotApplicable {
				return notApplicable("the webhooks are called by URL")
			}
			pods, err := s.pods(ctx)
			if err != nil {
				return cannot(err)
			}
			if len(pods) == 0 {
				return notApplicable("there are no pods")
			}
			port := s.port(ctx)
			for i := range pods {
				if who := s.meshed(&pods[i], port); who != "" {
					return warn("Put the labels and annotations of the manifests back on the Deployment's template, then: kubectl -n "+s.Own.Namespace+" rollout restart deploy/"+s.Own.Service,
						"%s stands in front of port %d of pod %s: the API server is in no mesh", who, port, pods[i].Name)
				}
			}
			return passed("%s", plural(len(pods), "pod"))
		},
	}
}

// meshed names the mesh that takes the connections to a port of the pod, "" where none does.
func (s *Subject) meshed(pod *corev1.Pod, port int) string {
	if pod.Annotations[ambientAnnotation] == "enabled" {
		return "Istio's ztunnel"
	}
	if s.Catalogue == nil || port < 0 || port > 1<<16-1 {
		return ""
	}
	env := &injectors.Env{Catalogue: s.Catalogue, Now: s.Now}
	plan := injectors.New(injectors.PodTarget(pod, &injectors.Namespace{Name: pod.Namespace}), env, injectors.Fact)
	var names []string
	for i := range plan.Meshes {
		if m := &plan.Meshes[i]; m.Capture.Inbound.Takes(uint16(port)) != injectors.No {
			names = append(names, m.Injector.Title+"'s proxy")
		}
	}
	return strings.Join(names, " and ")
}
