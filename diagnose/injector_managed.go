package diagnose

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"holdfast.dev/holdfast/report"
)

// meshGroup is where Google keeps its managed control planes of Istio: ControlPlaneRevision, v1alpha1 and v1beta1
// (cloud.google.com/service-mesh/docs, "Provision a managed Cloud Service Mesh control plane").
const meshGroup = "mesh.cloud.google.com"

// managedKind is the kind of the ControlPlaneRevisions in the version that the API server prefers; nil where it serves none, which
// everybody may ask.
func (s *Subject) managedKind(ctx context.Context) (*schema.GroupVersionResource, error) {
	if s.Raw == nil || s.Dynamic == nil {
		return nil, nil
	}
	var group metav1.APIGroup
	if err := s.read(ctx, "/apis/"+meshGroup, &group); err != nil {
		return nil, err
	}
	kind := schema.GroupVersionResource{Group: meshGroup, Version: group.PreferredVersion.Version, Resource: "controlplanerevisions"}
	if kind.Version == "" {
		return nil, nil
	}
	var served metav1.APIResourceList
	if err := s.read(ctx, "/apis/"+meshGroup+"/"+kind.Version, &served); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Name == kind.Resource }) {
		return nil, nil
	}
	return &kind, nil
}

// read decodes what the API server answers to a path, and leaves alone what it is decoded into where there is nothing.
func (s *Subject) read(ctx context.Context, path string, into any) error {
	page, err := s.Raw(ctx, path)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := json.Unmarshal(page, into); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}

// managedRevisions lists the ControlPlaneRevisions; none where the cluster does not know such objects.
func managedRevisions(ctx context.Context, s *Subject) ([]*Object, error) {
	kind, err := s.managedKind(ctx)
	if err != nil || kind == nil {
		return nil, err
	}
	revisions, err := s.Dynamic.Resource(*kind).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list controlplanerevisions: %w", err)
	}
	var objects []*Object
	for i := range revisions.Items[:min(len(revisions.Items), mostNeighbours)] {
		o := &revisions.Items[i]
		objects = append(objects, &Object{Name: "ControlPlaneRevision/" + o.GetNamespace() + "/" + o.GetName(), Value: o})
	}
	slices.SortFunc(objects, func(a, b *Object) int { return strings.Compare(a.Name, b.Name) })
	return objects, nil
}

func managedRevision() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF241", Name: "managed-revision", Severity: report.Error,
			Title: "the managed control plane is reconciled",
			Why:   "Google's managed control plane is not ready, or its provisioning has stopped: the conditions Reconciled and Stalled of its ControlPlaneRevision say so, with a reason. Its webhook may be missing, or call something that does not answer.",
			Fix:   "Read the condition's message: holdfast explain knows the reasons. kubectl -n istio-system describe controlplanerevisions.",
		},
		Needs: []string{apiServerCode},
		ask: func(ctx context.Context, s *Subject) Result {
			if s.About == nil {
				return notApplicable("there is nothing to ask about")
			}
			o, ok := s.About.Value.(*unstructured.Unstructured)
			if !ok {
				return unknown("", "not asked")
			}
			describe := "kubectl -n " + o.GetNamespace() + " describe controlplanerevision " + o.GetName()
			stalled, reason, message := condition(o, "Stalled")
			if stalled == string(metav1.ConditionTrue) {
				return failed(s.explains(ctx, describe), "its provisioning has stopped: %s: %s", reason, message).meaning(byWebhook)
			}
			reconciled, reason, message := condition(o, "Reconciled")
			switch reconciled {
			case string(metav1.ConditionTrue):
				return passed("Reconciled")
			case string(metav1.ConditionFalse):
				return failed(s.explains(ctx, describe), "it is not reconciled: %s: %s", reason, message).meaning(byWebhook)
			}
			return warn(steps("Wait some minutes, then look again:", describe), "it says nothing of Reconciled yet: it is being provisioned, which takes minutes").meaning(notYet)
		},
	}
}

// byWebhook is what a managed control plane means for pods: the lines about its webhook configuration say more.
const byWebhook = "Pods are injected as long as its webhook answers: HF238 of its configuration tells."

// explains looks up what the conditions say.
func (s *Subject) explains(ctx context.Context, describe string) string {
	explain := "holdfast explain -"
	if s.Server != nil {
		explain = s.kubectl() + " exec -i " + s.deploymentName(ctx) + " -- /holdfast explain -"
	}
	return steps("Its conditions say what Google's control plane wants; this tells what the reasons stand for, and how to mend them:", describe+" | "+explain, describe)
}

// condition reads one of the conditions that most kinds have in their status.
func condition(o *unstructured.Unstructured, kind string) (status, reason, message string) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		m, ok := c.(map[string]any)
		if !ok || m["type"] != kind {
			continue
		}
		status, _ = m["status"].(string)
		reason, _ = m["reason"].(string)
		message, _ = m["message"].(string)
		return status, reason, message
	}
	return "", "", ""
}
