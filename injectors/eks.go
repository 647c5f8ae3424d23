package injectors

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Keys of the EKS pod identity webhook, under its default prefix (amazon-eks-pod-identity-webhook, pkg/annotations.go).
const (
	eksDomain = "eks.amazonaws.com/"
	eksSkip   = eksDomain + "skip-pod-identity-webhook" // a label
	eksRole   = eksDomain + "role-arn"                  // of a ServiceAccount
)

// EKS is the pod identity webhook of EKS: it gives containers a token and says where it is, and adds none of its own. What it
// does matters to no plan: it has no Inject.
func EKS() *Injector {
	return &Injector{
		Name: "eks-pod-identity", Title: "EKS pod identity",
		Facts: "amazon-eks-pod-identity-webhook 0.6.17 (pkg/handler, pkg/annotations.go); a prefix of one's own is not known here; what EKS runs was seen in " +
			"clusters' configurations",
		// The second is the one that EKS itself runs, at a URL of its own.
		Owns: func(h *Hook) (string, bool) {
			return h.Service, h.Name == "pod-identity-webhook.amazonaws.com" || h.Name == "iam-for-pods.amazonaws.com"
		},
		Marked: eksMarked,
		Wants: func(t *Target, _ *Settings) Tri {
			if eksMarked(t) || eksAsked(t) == No {
				return No
			}
			return Unknown // the ServiceAccount says
		},
		Asked:       eksAsked,
		Decline:     Decline{Key: eksSkip, Value: "true", Label: true},
		Muddle:      eksMuddle,
		Annotations: []Annotation{{Key: eksDomain + "skip-containers"}, {Key: eksDomain + "token-expiration"}},
	}
}

// eksMarked looks for the volume of an IAM role, or of a pod identity.
func eksMarked(t *Target) bool {
	return t.anyVolume(func(name string) bool { return name == "aws-iam-token" || name == "eks-pod-identity-token" })
}

// anyVolume tells whether one of the pod's volumes has such a name.
func (t *Target) anyVolume(such func(name string) bool) bool {
	for i := range t.Spec.Volumes {
		if such(t.Spec.Volumes[i].Name) {
			return true
		}
	}
	return false
}

// eksAsked: a pod can only decline, by the label with which the webhook's objectSelector passes over it, whatever its value.
func eksAsked(t *Target) Tri {
	if _, declines := t.Meta.Labels[eksSkip]; declines {
		return No
	}
	return Unknown
}

// eksMuddle: the role is read on the ServiceAccount alone.
func eksMuddle(t *Target) []Muddle {
	role := t.Annotation(eksRole)
	if role == "" {
		return nil
	}
	account := t.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	return []Muddle{{
		What: "annotation " + eksRole + " is read on ServiceAccounts alone: on a pod it does nothing.",
		Fix:  "Annotate ServiceAccount " + account + ": " + eksRole + `: "` + role + `"`,
	}}
}

// anyContainer tells whether one of the pod's containers, in either list, has such a name.
func (t *Target) anyContainer(such func(name string) bool) bool {
	for _, list := range [...][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for i := range list {
			if such(list[i].Name) {
				return true
			}
		}
	}
	return false
}

// beginning returns what tells whether a name begins so.
func beginning(prefixes ...string) func(name string) bool {
	return func(name string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(name, p) {
				return true
			}
		}
		return false
	}
}
