package diagnose

import (
	"context"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

func callOrder() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF216", Name: "call-order", Severity: report.Warning,
			Title: "Holdfast is called before the injectors, and again after them",
			Why:   "The API server calls mutating webhooks in the order of their configurations' names. Called after an injector, Holdfast cannot tell it anything; not called again (reinvocationPolicy), it cannot put in order what the injectors made. What can still be done is done.",
			Fix:   "Give the mutating configuration a name that sorts before the injectors' (0-holdfast), and set reinvocationPolicy: IfNeeded on its entries.",
		},
		Needs: []string{"HF206", "HF207"},
		ask: func(ctx context.Context, s *Subject) Result {
			hooks, err := s.hooks(ctx)
			if err != nil {
				return cannot(err)
			}
			self := injectors.Self(hooks)
			if self < 0 {
				return unknown("", "no entry of ours is called for new pods")
			}
			var before, after []string
			for i, h := range hooks {
				if h.Injector == nil || h.Self {
					continue
				}
				names := &after
				if i < self {
					names = &before
				}
				if !slices.Contains(*names, h.Configuration) {
					*names = append(*names, h.Configuration)
				}
			}
			name := hooks[self].Configuration
			var problems []string
			if len(before) > 0 {
				problems = append(problems, name+" is called after "+list(before))
			}
			if !hooks[self].Reinvoked {
				problems = append(problems, name+" is not called again after the injectors")
			}
			if len(problems) > 0 {
				return warn(s.orderFix(ctx, len(before) > 0, !hooks[self].Reinvoked), "%s", strings.Join(problems, "; ")).
					meaning("Pods start, and are judged; what can still be put right is, and the rest is refused or recorded.")
			}
			if len(after) == 0 {
				return passed("%s; no known injector is registered", name)
			}
			return passed("%s before %s", name, list(after))
		},
	}
}

// orderFix puts right when we are called.
func (s *Subject) orderFix(ctx context.Context, late, once bool) string {
	entries, err := s.ourEntries(ctx)
	if err != nil {
		return ""
	}
	var lines []string
	mutating := slices.DeleteFunc(entries, func(e *Entry) bool { return !e.Mutating || e.Probe() })
	if once {
		lines = append(lines, "Have it called once more after the injectors:", patchEach(mutating, func(e *Entry) []op {
			if e.Reinvocation == admissionregistrationv1.IfNeededReinvocationPolicy {
				return nil
			}
			return []op{{"add", "/reinvocationPolicy", "IfNeeded"}}
		}))
	}
	if late {
		lines = append(lines, "It can wait until the morning: the mutating configuration needs a name that sorts before all of these, and a configuration cannot be renamed. "+
			"Change it in what it was installed from, together with the right to patch it (ClusterRole), then delete the one of the old name.")
	}
	if len(mutating) > 0 {
		lines = append(lines, s.owned(mutating[0].object()))
	}
	return steps(lines...)
}
