package diagnose

import (
	"context"
	"maps"
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
			Fix:   "The manifests carry the labels and annotations that keep every known mesh out; put them back on the template of the Deployment.",
		},
		Needs: []string{"HF210"},
		ask: func(ctx context.Context, s *Subject) Result {
			if l := s.needed["HF210"]; l != nil && l.State == NotApplicable {
				return notApplicable("the webhooks are called by URL")
			}
			pods, err := s.serverPods(ctx)
			if err != nil {
				return cannot(err)
			}
			if len(pods) == 0 {
				return notApplicable("there are no pods")
			}
			port := s.port(ctx)
			for i := range pods {
				if who := s.meshed(&pods[i], port); who != "" {
					return warn(s.leaveMesh(ctx), "%s stands in front of port %d of pod %s: the API server is in no mesh", who, port, pods[i].Name).
						meaning("Where that mesh insists on its own TLS, the API server's calls fail; if HF215 passes, they do not.")
				}
			}
			return passed("%s", plural(len(pods), "pod"))
		},
	}
}

// What keeps our pods out of every known mesh, as manifests/base/deployment.yaml has it.
func meshLabels() map[string]string {
	return map[string]string{"sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none", "kuma.io/sidecar-injection": "disabled"}
}

func meshAnnotations() map[string]string {
	return map[string]string{
		"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled", "consul.hashicorp.com/connect-inject": "false",
		"appmesh.k8s.aws/sidecarInjectorWebhook": "disabled", "dapr.io/enabled": "false", "openservicemesh.io/sidecar-injection": "disabled",
		"vault.hashicorp.com/agent-inject": "false", "openbao.openbao.org/agent-inject": "false",
	}
}

// leaveMesh puts back what keeps our pods out, as far as the Deployment lacks it.
func (s *Subject) leaveMesh(ctx context.Context) string {
	d, err := s.deployment(ctx)
	if err != nil || d == nil {
		return "Put the labels and annotations of the manifests back on the template that the pods are made of (manifests/base/deployment.yaml)."
	}
	metadata := map[string]any{}
	for what, lists := range map[string][2]map[string]string{
		"labels": {meshLabels(), d.Spec.Template.Labels}, "annotations": {meshAnnotations(), d.Spec.Template.Annotations},
	} {
		lacks := maps.Clone(lists[0])
		maps.DeleteFunc(lacks, func(key, value string) bool { return lists[1][key] == value })
		if len(lacks) > 0 {
			metadata[what] = lacks
		}
	}
	if len(metadata) == 0 {
		return steps("The Deployment has what keeps every known mesh out, so that its next pods do without:", s.restart(ctx))
	}
	return steps("Put back what keeps the pods out of it; the Deployment then makes others:",
		s.kubectl()+" patch deployment "+d.Name+" --type=merge -p '"+encode(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": metadata}}})+"'",
		s.owned(d))
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
