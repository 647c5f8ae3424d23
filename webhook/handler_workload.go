package webhook

import (
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/validators"
)

// validateWorkload judges the pods that a workload will make, by prediction, with what enforce mode will do to them.
//
//	enforce, created, certain, no remedy will help, workloads: refuse    refused
//	enforce otherwise                                                    warned
//	warn                                                                 warned, of what is and of what enforce would do
//	audit                                                                recorded
func (r *reviewer) validateWorkload(s *subject, req *admission.Request) admission.Response {
	plan := injectors.New(s.target, r.env, injectors.All)
	outcome := mutators.Choose(plan, r.config, mutators.Foresight)
	findings := validators.Judge(outcome.Plan, r.config)
	refuses := refusing(findings) && !s.update && r.config.Workloads == config.RefuseWorkloads

	n := r.note(s, req, admitted, findings)
	n.doubts = plan.Doubts
	switch {
	case s.mode == config.Enforce && refuses:
		n.decision = refusedWord
		return r.finish(n, refuse(req.Name, findings))
	case s.mode == config.Enforce:
		n.remedies = outcome.Remedies
		out := allow()
		out.Warnings = warnings(findings)
		return r.finish(n, out)
	case refuses:
		n.decision = wouldRefuse
	case len(outcome.Remedies) > 0:
		n.decision = wouldChange
	}
	return r.foretold(s, n, plan, &outcome)
}
