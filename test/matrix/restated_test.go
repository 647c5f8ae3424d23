package matrix_test

import (
	"slices"

	"holdfast.dev/holdfast/test/matrix"
)

// restated says what becomes of a pair's dialer without Holdfast, by the walk alone and nothing of the product's: where each
// webhook puts its init containers, the order in which they are called, and what the network is when the dialer's turn
// comes.
//
//	redirect by        in place                    proxy            serves
//	node plugin        before the first container  native sidecar   once it has started
//	init container     when that has ended         main container   after all init containers
func restated(p matrix.Pair) matrix.Verdict {
	list := []string{matrix.Own}
	// What an agent drops that comes before the mesh is what asked for it; what it drops after, what the node plugin goes by.
	cut, serves, dropped := p.Mode.CNI && p.Mode.Redirects(), false, false
	mesh := func() {
		first := p.Mode.InitFirst
		if dropped && len(p.Mode.Pod.Annotations) > 0 {
			if !first {
				cut = false
				return
			}
			first = false
		}
		var added []string
		if p.Mode.Redirects() {
			added = append(added, "redirect")
		}
		if p.Mode.Native {
			added = append(added, "proxy")
		}
		if first || p.Mode.Native && nativeFirst(p.Mode.Injector) {
			list = slices.Concat(added, list)
		} else {
			list = append(list, added...)
		}
	}
	agent := func() {
		switch {
		case p.Agent.Adds == nil: // it wraps the user's own
		case p.Agent.First:
			list = slices.Insert(list, 0, p.Agent.Dialer())
		default:
			list = append(list, p.Agent.Dialer())
		}
		dropped = p.Agent.Drops
	}
	if p.AgentFirst {
		agent()
		mesh()
	} else {
		mesh()
		agent()
		if dropped && p.Mode.CNI && p.Mode.ByMark {
			cut, list = false, slices.DeleteFunc(list, func(name string) bool { return name == "redirect" })
		}
	}
	for _, name := range list {
		switch name {
		case "redirect":
			cut = true
		case "proxy":
			serves = true
		case p.Agent.Dialer():
			if cut && !serves && !p.Agent.Retries {
				return matrix.Stuck
			}
			return matrix.Works
		}
	}
	panic("the dialer is not in the list")
}

// nativeFirst: Consul puts its native sidecar behind the init containers that are there, the others before them.
func nativeFirst(mesh string) bool { return mesh != "consul" }
