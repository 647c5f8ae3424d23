package webhook

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/validators"
)

// validate judges the object as every mutating webhook has left it, and writes the one record. Where nothing was touched
// (warn, audit) it judges what enforce mode would have made of it.
func (r *reviewer) validate(s *subject, req *admission.Request) admission.Response {
	if s.target.Template() {
		return r.validateWorkload(s, req)
	}
	plan := injectors.New(s.target, r.env, injectors.Fact)
	if s.mode == config.Enforce {
		findings := validators.Judge(plan, r.config)
		n := r.note(s, req, admitted, findings)
		if n.remedies = applied(s.target); len(n.remedies) > 0 {
			n.decision = changed
		}
		if refusing(findings) {
			n.decision = refusedWord
			out := refuse(req.Name, findings)
			r.missed(&out, plan)
			return r.finish(n, out)
		}
		out := allow()
		out.Warnings = warnings(findings)
		return r.finish(n, out)
	}

	outcome := mutators.Choose(plan, r.config, mutators.Hindsight)
	findings := validators.Judge(outcome.Plan, r.config)
	n := r.note(s, req, would(outcome, findings), findings)
	return r.foretold(s, n, plan, &outcome)
}

// foretold answers in warn and audit mode: the object goes in as it is.
func (r *reviewer) foretold(s *subject, n *record, plan *injectors.Plan, outcome *mutators.Outcome) admission.Response {
	asIs := n.findings
	if outcome.Plan != plan {
		asIs = validators.Judge(plan, r.config)
	}
	n.foretell(asIs, outcome)
	out := allow()
	if s.mode == config.Warn {
		out.Warnings = n.warned(asIs, plan.Target)
	}
	return r.finish(n, out)
}

// failedMissed counts pods that could have been put right and were not.
const failedMissed = "missed"

// missed says so where the pod is refused although it could have been put right: the call that would have done it was lost on
// its way (a replica that ended, a webhook configuration that lacks it), or the mode has changed since. The next try is likely
// to succeed.
func (r *reviewer) missed(out *admission.Response, plan *injectors.Plan) {
	outcome := mutators.Choose(plan, r.config, mutators.Hindsight)
	if len(outcome.Remedies) == 0 || refusing(validators.Judge(outcome.Plan, r.config)) {
		return
	}
	r.metrics.failures.WithLabelValues(failedMissed).Inc()
	out.Result.Message += "\nThe mutating webhook of Holdfast would have put this right (" + strings.Join(outcome.Remedies, ", ") +
		") but was not called, or watched only: create the object again."
}

// would says what enforce mode would have decided.
func would(outcome mutators.Outcome, findings []report.Finding) string {
	switch {
	case refusing(findings):
		return wouldRefuse
	case len(outcome.Remedies) > 0:
		return wouldChange
	}
	return admitted
}

// foretell notes what enforce mode would have changed, and what that would have cured. Of an object that it would have refused
// nothing would have been left to change.
func (n *record) foretell(asIs []report.Finding, outcome *mutators.Outcome) {
	if n.decision != wouldChange {
		return
	}
	n.remedies, n.patch = outcome.Remedies, outcome.Patch.JSON()
	for _, f := range asIs {
		if !slices.ContainsFunc(n.findings, func(left report.Finding) bool { return left.Code == f.Code && left.Container == f.Container }) {
			n.cures = append(n.cures, f)
		}
	}
}

// warned are the warnings in warn mode: what is wrong with the object as it goes in, and that enforce mode would have put it
// right or refused it.
func (n *record) warned(asIs []report.Finding, t *injectors.Target) []string {
	object := report.Shorten(t.String(), 80)
	if t.Template() {
		object = "the pods of " + object
	}
	out := warnings(asIs)
	out = out[:min(len(out), maxWarnings-1)]
	switch n.decision {
	case wouldChange:
		return append(out, fmt.Sprintf("mode enforce would put %s right (%s)", object, strings.Join(n.remedies, ", ")))
	case wouldRefuse:
		if len(out) == 0 {
			out = warnings(n.findings)
		}
		return append(out[:min(len(out), maxWarnings-1)], "mode enforce would refuse "+report.Shorten(t.String(), 80))
	}
	return out
}

// applied reads which remedies are noted on the pod, for the record alone. Anyone may write that annotation: words that are
// no remedies are dropped.
func applied(t *injectors.Target) []string {
	var out []string
	for name := range strings.SplitSeq(t.Annotation(mutators.AppliedAnnotation), ",") {
		if slices.Contains(config.Remedies(), name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
