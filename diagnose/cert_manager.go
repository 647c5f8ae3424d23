package diagnose

import (
	"context"
	"slices"
	"strings"

	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/report"
)

func certManager() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF205", Name: "cert-manager", Severity: report.Error,
			Title: "cert-manager has issued the certificate",
			Why:   "The webhook configurations ask cert-manager for the CA of a Certificate that is not there, or that it could not issue. Then the Secret stays empty, pods that mount it do not start, and no CA is put into the configurations.",
			Fix:   "The conditions of the Certificate, and of the CertificateRequest and Issuer that it names, say what is missing; without cert-manager Holdfast makes its own certificate, once --cert-dir and the annotation are gone.",
		},
		Needs: []string{apiServerCode},
		ask: func(ctx context.Context, s *Subject) Result {
			if _, err := s.ourEntries(ctx); err != nil {
				return cannot(err)
			}
			from := s.injectedFrom(ctx)
			namespace, name, ok := strings.Cut(from, "/")
			if from == "" {
				return notApplicable("no webhook configuration of ours asks for a CA of cert-manager's")
			}
			if !ok || s.Dynamic == nil {
				return failed(s.dropAnnotation(ctx), "annotation %s=%q names no Certificate (NAMESPACE/NAME)", injectFrom, from)
			}
			c, err := s.certificate(ctx, namespace, name)
			switch {
			case apierrors.IsNotFound(err):
				return s.stillGood(ctx, failed(s.withoutCertificate(ctx), "Certificate %s, which annotation %s names, is not there%s", from, injectFrom, s.runsCertManager(ctx)))
			case err != nil:
				return cannot(err)
			}
			ready := readiness(c)
			if ready.Status == cmmeta.ConditionTrue {
				return passed("Certificate %s is ready", from)
			}
			o := s.origin(ctx)
			again := kept(c.Labels, c.Annotations)
			if ready.Message == "" {
				silence := "cert-manager has said nothing about it yet" + s.runsCertManager(ctx)
				return s.stillGood(ctx, failed(steps("See whether cert-manager runs:", "kubectl get deployments,pods -A -l "+nameLabel+"=cert-manager",
					"If a Deployment of it is scaled to 0, scale it up. If its pods run, their log says why they do not look at it.",
					s.makeItself(ctx, o, "If cert-manager cannot be had tonight, l"+itself), again), "Certificate %s is not ready: %s", from, silence))
			}
			return s.stillGood(ctx, failed(steps("What is in its way is said here, last by the CertificateRequest and the Issuer:",
				s.describe(c), "kubectl -n "+namespace+" get issuers -o wide", "kubectl get clusterissuers -o wide",
				s.reissue(c, "If it hangs without a reason, have it issued again, which cert-manager does when its Secret is gone:"),
				s.makeItself(ctx, o, "If cert-manager cannot be had tonight, l"+itself), again),
				"Certificate %s is not ready: %s", from, strings.TrimSpace(ready.Reason+" "+ready.Message)))
		},
	}
}

// stillGood adds to an answer that the certificate which is served goes on being believed, if it is.
func (s *Subject) stillGood(ctx context.Context, r Result) Result {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	chain, err := s.served(ctx)
	if err != nil || s.Now().After(chain[0].NotAfter) || s.Now().Before(chain[0].NotBefore) {
		return r
	}
	entries, err := s.ourEntries(ctx)
	if err != nil || slices.ContainsFunc(entries, func(e *Entry) bool { return distrust(e, chain, s.Now()) != "" }) {
		return r
	}
	r.State = Warning // what needs the certificate goes on
	return r.meaning("Nothing is broken yet: the certificate that is served is good until " + minute(chain[0].NotAfter) + ".")
}

// runsCertManager says so where cert-manager is not there, or stands still.
func (s *Subject) runsCertManager(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	all, err := s.Client.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: nameLabel + "=cert-manager"})
	switch {
	case err != nil:
		return ""
	case len(all.Items) == 0:
		return ", and no Deployment of cert-manager is found"
	case all.Items[0].Status.ReadyReplicas == 0:
		return ", and Deployment " + all.Items[0].Namespace + "/" + all.Items[0].Name + " has no ready pod"
	}
	return ""
}

// withoutCertificate is what to do where cert-manager's Certificate is gone.
func (s *Subject) withoutCertificate(ctx context.Context) string {
	o := s.origin(ctx)
	var keeper *keeper
	if o.deployment != nil {
		keeper = keeperOf(o.deployment.Labels, o.deployment.Annotations)
	}
	itself := s.makeItself(ctx, o, "L"+itself)
	if itself == "" {
		itself = s.dropAnnotation(ctx)
	}
	if keeper == nil {
		return steps(itself, "Or apply the component of the manifests that has the Certificate: manifests/components/cert-manager.")
	}
	return steps("Have "+keeper.who+" write it again:", keeper.again, "If that is not possible: l"+strings.TrimPrefix(itself, "L"))
}

// dropAnnotation leaves the CA of the configurations to Holdfast, or to people.
func (s *Subject) dropAnnotation(ctx context.Context) string {
	entries, _ := s.ourEntries(ctx)
	lines := []string{"Let cert-manager leave the configurations alone; the CA that is in them stays:"}
	for _, of := range byConfiguration(entries) {
		lines = append(lines, "kubectl annotate "+of[0].Where()+" "+injectFrom+"-")
	}
	return steps(lines...)
}
