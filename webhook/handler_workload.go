package webhook

import (
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/validators"
)

// validateWorkload judges the pods that a workload will make, by prediction.
//
//	enforce, created, certain, nothing will help (see prospect), workloads: refuse    refused
//	enforce otherwise, and warn                                                       warned
//	audit                                                                             recorded
func (r *reviewer) validateWorkload(s *subject, req *admission.Request) admission.Response {
	plan := injectors.New(s.target, r.env, injectors.All)
	outcome := mutators.Choose(plan, r.config, mutators.Hindsight)
	findings := prospect(outcome.Plan, r.config, validators.Judge(outcome.Plan, r.config))
	refuses := refusing(findings) && !s.update && r.config.Workloads == config.RefuseWorkloads

	n := r.note(s, req, admitted, findings)
	out := allow()
	switch {
	case s.mode == config.Enforce && refuses:
		n.decision = refusedWord
		out = refuse(req.Name, findings)
	case s.mode != config.Enforce && refuses:
		n.decision = wouldRefuse
	case s.mode != config.Enforce && !outcome.Patch.Empty():
		n.decision = wouldChange
	}
	if s.mode != config.Enforce {
		n.remedies, n.patch = outcome.Remedies, outcome.Patch.JSON()
	}
	if out.Allowed && s.mode >= config.Warn {
		out.Warnings = warnings(findings)
	}
	return r.finish(n, out)
}
