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
			return r.finish(n, refuse(req.Name, findings))
		}
		out := allow()
		out.Warnings = warnings(findings)
		return r.finish(n, out)
	}

	outcome := mutators.Choose(plan, r.config, mutators.Hindsight)
	findings := validators.Judge(outcome.Plan, r.config)
	n := r.note(s, req, would(outcome, findings), findings)
	n.remedies, n.patch = outcome.Remedies, outcome.Patch.JSON()
	out := allow()
	if s.mode == config.Warn {
		out.Warnings = r.foretold(plan, outcome, findings)
	}
	return r.finish(n, out)
}

// would says what enforce mode would have decided.
func would(outcome mutators.Outcome, findings []report.Finding) string {
	switch {
	case refusing(findings):
		return wouldRefuse
	case !outcome.Patch.Empty():
		return wouldChange
	}
	return admitted
}

// foretold are the warnings in warn mode. What the remedies would cure is said as well: the pod goes in without them.
func (r *reviewer) foretold(plan *injectors.Plan, outcome mutators.Outcome, findings []report.Finding) []string {
	if len(outcome.Remedies) == 0 {
		return warnings(findings)
	}
	asIs := warnings(validators.Judge(plan, r.config))
	if len(asIs) == 0 && refusing(findings) {
		asIs = warnings(findings)
	}
	cure := fmt.Sprintf("%s: holdfast would change it (%s) if its namespace were labelled %s=%s",
		report.Shorten(plan.Target.String(), 80), strings.Join(outcome.Remedies, ", "), config.ModeLabel, config.Enforce)
	out := append([]string{cure}, asIs...)
	return out[:min(len(out), maxWarnings)]
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
