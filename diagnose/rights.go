package diagnose

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/report"
)

func rights() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF218", Name: "rights", Severity: report.Error,
			Title: "RBAC allows the server what it does",
			Why:   "A Role or a binding is missing or has been cut down. What may not be read is unknown to Holdfast: predictions get weaker, exemptions cannot be worked out, its certificate cannot be kept, or these probes cannot be asked.",
			Fix:   "Give back what is missing: kubectl auth reconcile adds to what is there. Meshes outside of istio-system need a Role like the one in manifests/components.",
		},
		harm:   dependsOnCase,
		Needs:  []string{apiServerCode},
		Inside: true,
		ask: func(ctx context.Context, s *Subject) Result {
			wanted := s.rights(ctx)
			var missing []right
			for i := range wanted {
				w := &wanted[i]
				answer, err := s.Client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, w.review(), metav1.CreateOptions{})
				if err != nil {
					return cannot(fmt.Errorf("ask what we may do: %w", err))
				}
				if !answer.Status.Allowed {
					missing = append(missing, *w)
				}
			}
			if len(missing) > 0 {
				what := make([]string, len(missing))
				for i := range missing {
					what[i] = missing[i].String()
				}
				fix := s.grant(ctx, missing)
				text := fmt.Sprintf("%s missing: %s", plural(len(missing), "right"), strings.Join(what, "; "))
				switch {
				case allFor(missing, ofMesh):
					return warn(fix, "what a mesh will do to a pod is not foretold, %s", text).meaning(lack(missing))
				case allFor(missing, ofMesh, ofIssuing):
					return warn(fix, "%s", text).meaning(lack(missing))
				}
				return failed(fix, "%s", text).meaning(lack(missing))
			}
			return passed("%d rights", len(wanted))
		},
	}
}

// What rights are for: for settings of a mesh, without which Holdfast foretells less; for these probes; and for its certificate.
const (
	ofMesh        = "settings of the mesh"
	ofDiagnosis   = "diagnosis"
	ofCertificate = "certificate"
	ofCA          = "its CA"
)

// ofIssuing is what rights are for without which HF205 does not say why cert-manager issues nothing.
const ofIssuing = "what keeps cert-manager from issuing"

// ofManaged is what a right is for that matters where Google manages the mesh, and nowhere else.
const ofManaged = "the managed control plane"

// right is one thing that the server does. A resource that begins with a slash is a path of the API server.
type right struct {
	authorizationv1.ResourceAttributes
	why string
}

// allFor tells that rights are for nothing else.
func allFor(missing []right, whys ...string) bool {
	return !slices.ContainsFunc(missing, func(r right) bool { return !slices.Contains(whys, r.why) })
}

// page tells that the right is to a path.
func (r *right) page() bool { return strings.HasPrefix(r.Resource, "/") }

// review asks for it.
func (r *right) review() *authorizationv1.SelfSubjectAccessReview {
	spec := authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &r.ResourceAttributes}
	if r.page() {
		spec = authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.Resource, Verb: r.Verb}}
	}
	return &authorizationv1.SelfSubjectAccessReview{Spec: spec}
}

// String is the right in words, as `kubectl auth can-i` takes them.
func (r *right) String() string {
	text := r.Verb + " " + r.Resource
	if r.Group != "" {
		text += "." + r.Group
	}
	if r.Name != "" {
		text += "/" + r.Name
	}
	if r.Namespace != "" {
		text += " in " + r.Namespace
	}
	return text + " (" + r.why + ")"
}

// rights is what the server does, and what for. Where that depends on what may not be read, the right to read it is among
// them.
func (s *Subject) rights(ctx context.Context) []right {
	var out []right
	add := func(why, group, resource, namespace, name string, verbs ...string) {
		for _, verb := range verbs {
			out = append(out, right{why: why, ResourceAttributes: authorizationv1.ResourceAttributes{
				Verb: verb, Group: group, Resource: resource, Namespace: namespace, Name: name,
			}})
		}
	}
	const admission, own = "admissionregistration.k8s.io", ofDiagnosis
	add("modes", "", "namespaces", "", "", "get", "list", "watch")
	add("exemptions", "", "services", "", "", "list", "watch")
	add("kubelet versions", "", "nodes", "", "", "list", "watch")
	add("settings of injectors", "apps", "deployments", "", "", "list", "watch")
	add("call order", admission, "mutatingwebhookconfigurations", "", "", "list", "watch")
	add("call order", admission, "validatingwebhookconfigurations", "", "", "list", "watch")
	add(own, "discovery.k8s.io", "endpointslices", "", "", "list")
	add(own, "", "pods", s.Own.Namespace, "", "list")
	add(own, "networking.k8s.io", "networkpolicies", s.Own.Namespace, "", "list")
	add(own, "policy", "poddisruptionbudgets", s.Own.Namespace, "", "list")
	add(own, "", "configmaps", s.Own.Namespace, "", "create")
	add(own, "", "events", s.Own.Namespace, "", "create")
	add(own, "", "/metrics", "", "", "get")
	if s.injectedFrom(ctx) != "" {
		add(own, "cert-manager.io", "certificates", s.Own.Namespace, "", "get", "list")
		add(ofIssuing, "cert-manager.io", "certificaterequests", s.Own.Namespace, "", "list")
		add(ofIssuing, "cert-manager.io", "issuers", s.Own.Namespace, "", "get")
		if secret := s.origin(ctx).secret; secret != "" {
			add(ofIssuing, "", "secrets", s.Own.Namespace, secret, "get")
		}
	}
	if kind, err := s.managedKind(ctx); err == nil && kind != nil {
		add(ofManaged, kind.Group, kind.Resource, "", "", "list")
	}
	if s.Server.CertDir == "" {
		if s.Server.Secret != "" {
			add(ofCertificate, "", "secrets", s.Own.Namespace, s.Server.Secret, "get", "list", "watch", "update")
		}
		entries, _ := s.ourEntries(ctx)
		for _, e := range entries {
			r := right{why: ofCA, ResourceAttributes: authorizationv1.ResourceAttributes{
				Verb: "patch", Group: admission, Resource: strings.ToLower(e.Kind()) + "s", Name: e.Configuration,
			}}
			if e.ClientConfig.Service != nil && !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	// Those for the namespaces of meshes, as far as they exist.
	namespaces, _ := s.Namespaces(ctx)
	for i := range namespaces {
		if name := namespaces[i].Name; slices.Contains(s.Server.MeshNamespaces, name) {
			add(ofMesh, "", "configmaps", name, "", "list", "watch")
		}
	}
	return out
}
