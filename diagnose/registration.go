package diagnose

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/manifests"
)

// The kinds of webhook configurations, as `holdfast webhooks` takes them.
const (
	mutatingKind   = "mutating"
	validatingKind = "validating"
)

// Installation is what a webhook configuration of ours would have to be here, as far as those that are there tell: one that was
// deleted is made again after the other. From names the one that was read, "" where none is left.
func (s *Subject) Installation(ctx context.Context) (i manifests.Installation, from string, err error) {
	subject := *s // what it reads is not to outlive the call
	subject.seen = newSeen(ctx)
	i = manifests.Installation{Namespace: s.Own.Namespace, Service: s.Own.Service}
	entries, err := subject.ourEntries(ctx)
	if err != nil {
		return i, "", err
	}
	for _, e := range entries {
		if e.Probe() {
			continue
		}
		if from == "" && e.Creates("pods") {
			from = e.Where()
			i.OptIn = optIn(e.NamespaceSelector)
			if e.FailurePolicy != nil {
				i.FailurePolicy = *e.FailurePolicy
			}
		}
		if i.InjectFrom == "" {
			i.InjectFrom = e.Annotations[injectFrom]
		}
		if i.CABundle == nil && !bundleOfOurs(e.ClientConfig.CABundle) {
			i.CABundle = e.ClientConfig.CABundle
		}
	}
	if i.InjectFrom != "" { // cert-manager puts it in
		i.CABundle = nil
	}
	return i, from, nil
}

// optIn tells whether a selector lets through namespaces with our label alone.
func optIn(s *metav1.LabelSelector) bool {
	return s != nil && slices.ContainsFunc(s.MatchExpressions, func(x metav1.LabelSelectorRequirement) bool {
		return x.Key == config.ModeLabel && x.Operator == metav1.LabelSelectorOpExists
	})
}

// bundleOfOurs tells whether Holdfast has put a CA of its own in, and will again.
func bundleOfOurs(bundle []byte) bool {
	block, _ := pem.Decode(bundle)
	if block == nil {
		return len(bundle) == 0
	}
	c, err := x509.ParseCertificate(block.Bytes)
	return err == nil && selfMade([]*x509.Certificate{c})
}

// writeAgain is how webhook configurations of ours are made again as this version ships them: by whoever keeps what is left of
// the installation, else from the binary.
//
// which is one kind, or "" for both.
func (s *Subject) writeAgain(ctx context.Context, which string) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	var keeper *keeper
	if entries, err := s.ourEntries(ctx); err == nil {
		for _, e := range entries {
			if keeper == nil {
				keeper = keeperOf(e.Labels, e.Annotations)
			}
		}
	}
	if d, err := s.deployment(ctx); err == nil && d != nil && keeper == nil {
		keeper = keeperOf(d.Labels, d.Annotations)
	}
	ours := s.holdfast(ctx, strings.TrimSpace("webhooks "+which)) + " | kubectl apply -f -"
	if keeper == nil {
		return steps("Make it again as this version of Holdfast ships it:", ours)
	}
	return steps("Have "+keeper.who+" write it again:", keeper.again, "Or from the binary, until that is possible:", ours)
}
