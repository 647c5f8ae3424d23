package diagnose

import (
	"context"
	"fmt"
	"slices"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
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
			Why:   "The webhook configurations ask cert-manager for the CA of a Certificate that is not there, that it could not issue, or that it no longer looks after. Then the Secret stays empty or is not renewed, pods that mount it do not start, and no CA is put into the configurations.",
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
				return s.stillGood(ctx, failed(s.withoutCertificate(ctx), "Certificate %s, which annotation %s names, is not there%s", from, injectFrom, s.unfound(ctx)))
			case err != nil:
				return cannot(err)
			case readiness(c.Status.Conditions).Status != cmmeta.ConditionTrue:
				return s.stillGood(ctx, s.unissued(ctx, c))
			}
			return s.issued(ctx, c)
		},
	}
}

// issued looks after a Certificate that is ready: its Secret may be gone, or whoever would renew it.
func (s *Subject) issued(ctx context.Context, c *certmanager.Certificate) Result {
	from := c.Namespace + "/" + c.Name
	if s.absent(ctx, c.Namespace, c.Spec.SecretName) {
		return s.secretGone(ctx, c)
	}
	if renewer := s.idle(ctx, issuing); renewer != nil {
		return s.stillGood(ctx, warn(steps(renewer.fix(), s.instead(ctx)), "Certificate %s is ready, but nobody renews it: %s", from, renewer.what()))
	}
	if injector := s.idle(ctx, injecting); injector != nil {
		return s.stillGood(ctx, warn(injector.fix(), "Certificate %s is ready, but nobody puts its CA into the configurations when it changes: %s", from, injector.what()))
	}
	return passed("Certificate %s is ready", from)
}

// secretGone is for a Certificate that goes on being ready while nobody looks after it.
func (s *Subject) secretGone(ctx context.Context, c *certmanager.Certificate) Result {
	message := fmt.Sprintf("Certificate %s/%s is ready, but Secret %s, which it is written to, is not there", c.Namespace, c.Name, c.Spec.SecretName)
	fix := steps("It is made again by cert-manager within seconds. If it is not, the reason is here:", s.look(c), "kubectl get pods -A -l "+nameLabel+"="+issuing)
	if renewer := s.idle(ctx, issuing); renewer != nil {
		message += ", and " + renewer.what()
		fix = steps(renewer.fix(), "It then makes the Secret again by itself.")
	}
	return s.stillGood(ctx, failed(steps(fix, s.instead(ctx)), "%s", message))
}

// unissued says why a Certificate is not ready, and what to do about it.
func (s *Subject) unissued(ctx context.Context, c *certmanager.Certificate) Result {
	unready := fmt.Sprintf("Certificate %s/%s is not ready: ", c.Namespace, c.Name)
	last := steps(s.instead(ctx), kept(c.Labels, c.Annotations))
	if renewer := s.idle(ctx, issuing); renewer != nil {
		return failed(steps(renewer.fix(), "It then issues the certificate by itself.", last), "%s%s", unready, renewer.what())
	}
	if o := s.obstacle(ctx, c); o != nil {
		return failed(steps(s.overcome(c, o), last), "%s%s %s", unready, o.at, o.why)
	}
	ready := readiness(c.Status.Conditions)
	if ready.Message == "" {
		return failed(steps("See whether cert-manager runs, and what it says of the Certificate:", "kubectl get deployments,pods -A -l "+nameLabel+"="+issuing, s.look(c), last),
			"%scert-manager has said nothing about it yet%s", unready, s.unfound(ctx))
	}
	return failed(steps("What is in its way is said here, last by the CertificateRequest and the Issuer:", s.look(c), s.reissue(c, "If nothing is, have it issued again:"), last),
		"%s%s", unready, strings.TrimSpace(ready.Reason+" "+ready.Message))
}

// overcome is what to do about an obstacle.
func (s *Subject) overcome(c *certmanager.Certificate, o *obstacle) string {
	const all = "What cert-manager says of all that takes part:"
	switch {
	case o.missing:
		return steps("Apply again what has made it (manifests/components/cert-manager, where it is Holdfast's own); cert-manager then goes on by itself. "+all, s.look(c))
	case o.waits:
		return steps("It may take its time: issuers outside of the cluster take minutes, and somebody may have to approve it. If it stays so, cert-manager says why, of something that takes part:", s.look(c))
	case o.denied != "":
		return steps("Ask whoever judges requests (approver-policy, or a person with cmctl) to let it through. "+all, s.look(c),
			"Not without their yes, have it asked for again:", "kubectl -n "+c.Namespace+" delete "+requestResource+" "+o.denied, s.reissue(c, ""))
	}
	if again := s.reissue(c, "By itself it waits, for an hour at first. Have it try again at once, as cmctl renew does:"); o.failed && again != "" {
		return steps(again, "If it fails again, mend what it names. "+all, s.look(c))
	}
	return steps("Once that is mended, cert-manager goes on by itself. "+all, s.look(c))
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
	until := minute(chain[0].NotAfter)
	if secret := s.origin(ctx).secret; secret != "" && s.absent(ctx, s.Own.Namespace, secret) {
		return r.meaning("Nothing is broken yet: servers that run go on with the certificate that they have read, until " + until +
			". Leave them alone: new ones do not start, for Secret " + secret + ", which they mount, is not there.")
	}
	return r.meaning("Nothing is broken yet: the certificate that is served is good until " + until + ".")
}

// absent tells that a Secret is not there; not that it may not be read.
func (s *Subject) absent(ctx context.Context, namespace, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	_, err := s.Client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	return apierrors.IsNotFound(err)
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

// instead is what to do where cert-manager is of no help.
func (s *Subject) instead(ctx context.Context) string {
	return s.makeItself(ctx, s.origin(ctx), "If that is not possible tonight, l"+itself)
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
