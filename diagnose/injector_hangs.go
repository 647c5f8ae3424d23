package diagnose

import (
	"context"
	"fmt"
)

// hangs is the answer about an injector that takes connections and answers nothing: the API server waits for it at each pod.
func (s *Subject) hangs(ctx context.Context, n *neighbour, a *attempt, b *backing) Result {
	of, runs := "kubectl -n "+a.callee.namespace, b.deployment != nil && (b.deployment.Spec.Replicas == nil || *b.deployment.Spec.Replicas > 0)
	var lines []string
	switch {
	case a.callee.name == "":
		lines = append(lines, "Whoever runs "+a.callee.address()+" has to see why it does not answer.")
	case runs:
		lines = append(lines, "Start it anew, and keep what it has said (in this directory):",
			of+" logs deploy/"+b.deployment.Name+" --tail=-1 > "+stamped(b.deployment.Name)+".log",
			of+" rollout restart deploy/"+b.deployment.Name,
			"If it hangs again, its log says what it waits for:", of+" logs deploy/"+b.deployment.Name+" --tail=50")
	case b.unlisted != nil:
		lines = append(lines, "What makes its pods cannot be read from here. See what that is, and what it says:", of+" get deployments,pods -o wide")
	default:
		lines = append(lines, "No pods of a Deployment stand behind "+a.callee.String()+": whoever has put that address there has to see why it does not answer:",
			of+" get endpointslices -o wide", of+" get pods,deployments -o wide")
	}
	lines = append(lines, n.meanwhile(), n.kept())
	return failed(steps(lines...), "%s %s within %s, tried from here: it hangs", a.address, mute, round(lookUp)).
		meaning(fmt.Sprintf("Each pod that it selects waits up to %d s for it. %s", n.patience(), s.loss(ctx, n)))
}

// meanwhile has pods start while it hangs, and puts back what was there. What lets pods through already may do so because these
// lines have been typed: what it has now is not what to put back.
func (n *neighbour) meanwhile() string {
	var through, wait []*Entry
	for _, e := range n.entries {
		if !e.Fails() && e.timeout() <= 1 {
			through = append(through, e)
		} else {
			wait = append(wait, e)
		}
	}
	var lines []string
	if len(wait) > 0 {
		lines = append(lines, "If pods must start meanwhile, have the API server wait 1 s for it, and go on without what it adds:",
			patchEntries(wait, op{"add", "/timeoutSeconds", 1}, op{"add", "/failurePolicy", "Ignore"}),
			"Once it answers again, put that back:",
			patchEach(wait, func(e *Entry) []op {
				policy := "Ignore"
				if e.Fails() {
					policy = "Fail"
				}
				return []op{{"add", "/timeoutSeconds", e.timeout()}, {"add", "/failurePolicy", policy}}
			}))
	}
	if len(through) > 0 {
		lines = append(lines, "It has been let through already: the API server waits at most 1 s for "+whichOf(through, len(n.entries))+
			", and goes on without what it adds. If that was set for the time being, put back what was there before, once it answers again.")
	}
	return steps(lines...)
}

// patience is the longest of its entries' timeouts.
func (n *neighbour) patience() int {
	most := 0
	for _, e := range n.entries {
		most = max(most, e.timeout())
	}
	return most
}
