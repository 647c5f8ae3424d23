package webhook

import (
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/validators"
)

// mutate puts the object right as far as it can be at this moment. The mode decides at the very end; the record is written
// by validate, but for what no validating webhook gets to see.
func (r *reviewer) mutate(s *subject, req *admission.Request) admission.Response {
	horizon := injectors.Rest
	if s.target.Template() {
		horizon = injectors.All
	}
	plan := injectors.New(s.target, r.env, horizon)
	outcome := mutators.Choose(plan, r.config, mutators.Mutating)

	if !s.target.Template() && !plan.Coming {
		if early := validators.JudgeEarly(outcome.Plan, r.config); refusing(early) {
			return r.refuseEarly(s, req, early)
		}
	}
	out := allow()
	verb := "would apply "
	if s.mode == config.Enforce {
		verb = "applied "
		out = patched(outcome.Patch.JSON())
		r.metrics.applied(outcome.Remedies, s.mode, dryRun(req))
	}
	if len(outcome.Remedies) > 0 {
		out.AuditAnnotations = map[string]string{pass(plan): verb + strings.Join(outcome.Remedies, ",")}
	}
	return out
}

// refuseEarly answers for a pod that the API server will reject before it calls the validating webhook: its own words for
// that say nothing of the cause.
func (r *reviewer) refuseEarly(s *subject, req *admission.Request, findings []report.Finding) admission.Response {
	if s.mode == config.Enforce {
		return r.finish(r.note(s, req, refusedWord, findings), refuse(req.Name, findings))
	}
	out := allow()
	if s.mode == config.Warn {
		out.Warnings = warnings(findings)
	}
	return r.finish(r.note(s, req, wouldRefuse, findings), out)
}

// pass is the audit key of this call: see auditFirst.
func pass(plan *injectors.Plan) string {
	if plan.Coming {
		return auditFirst
	}
	return auditAgain
}

func dryRun(req *admission.Request) bool { return req.DryRun != nil && *req.DryRun }

// note makes the record of a review.
func (r *reviewer) note(s *subject, req *admission.Request, decision string, findings []report.Finding) *record {
	n := &record{
		operation: string(req.Operation), kind: s.target.Kind, namespace: req.Namespace, object: s.target.String(),
		mode: s.mode, decision: decision, findings: findings, dryRun: dryRun(req),
	}
	if exempt := s.target.Annotation(config.ExemptAnnotation); exempt != "" && r.config.ExemptAnnotations {
		n.exempt = exempt
		if reason := s.target.Annotation(config.ExemptReasonAnnotation); reason != "" {
			n.exempt += " (" + reason + ")"
		}
	}
	return n
}

// finish writes the record down, and puts it on the answer for the API server's audit log.
func (r *reviewer) finish(n *record, out admission.Response) admission.Response {
	n.log(r.log)
	r.metrics.count(n)
	out.AuditAnnotations = n.annotations()
	return out
}
