package validators

import (
	"slices"
	"strings"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// endlessJob finds Jobs with injected containers that go on when the work is done.
func endlessJob() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF141", Name: "endless-job", Severity: report.Warning,
			Title: "A Job with an injected container that never ends",
			Why: "A Job is done when all containers of its pod have ended. An injected sidecar among them goes on for ever, and the Job with it; its successors " +
				"(a CronJob's, a Helm hook's) never start. The kubelet ends native sidecars by itself.",
			Fix: "Use a native sidecar, have the agent's init container fetch everything and leave its sidecar out, or let the last command of the Job tell the proxy to " +
				"quit. Jobs whose containers name a known way to do that are left alone.",
		},
		check: func(i *inspection) {
			if !i.target.Job || i.tellsToQuit(ways()) {
				return
			}
			for k := range i.plan.Mains {
				s := &i.plan.Mains[k]
				if s.Injector == nil || s.Injector.Quits || s.Wrapped || s.Role != injectors.Proxy && s.Role != injectors.Dialer {
					continue
				}
				m := i.plan.Mesh(s.Injector)
				if s.Index < 0 && m != nil && m.Native == injectors.Unknown {
					continue // whether it will be among the containers is not known
				}
				if i.tellsToQuit(s.Injector.Ends) {
					continue
				}
				i.find(s, i.at(s)+" does not end when the work is done: the Job never completes.", i.ending(s, m))
			}
		},
	}
}

// ending is the one line that has the Job end.
func (i *inspection) ending(s *injectors.Step, m *injectors.Mesh) string {
	switch {
	case s.Role == injectors.Proxy && m != nil && s.Injector.Native != "":
		return i.annotate(s.Injector.Native, "true")
	case s.Role == injectors.Dialer && s.Injector.WithoutSidecar != nil:
		if key, value := s.Injector.WithoutSidecar(i.target); key != "" {
			return i.annotate(key, value)
		}
	}
	return "Let the Job's last command tell it to quit, or leave it out of this pod."
}

// ways are those that people use with any proxy: Envoy's endpoint, other proxies', a wrapper's flag, and a signal that is sent
// into a shared process namespace.
func ways() []string {
	return []string{"quitquitquit", "/shutdown", "graceful_shutdown", "--shutdown", "scuttle", "pkill ", "killall "}
}

// tellsToQuit tells whether a container of the user's names one of the ways to end a sidecar.
func (i *inspection) tellsToQuit(ways []string) bool {
	names := func(word string) bool {
		return slices.ContainsFunc(ways, func(way string) bool { return strings.Contains(word, way) })
	}
	for k := range i.plan.Mains {
		s := &i.plan.Mains[k]
		c := i.plan.Container(s)
		if c == nil || s.Role != injectors.Own && !s.Wrapped {
			continue
		}
		if slices.ContainsFunc(c.Command, names) || slices.ContainsFunc(c.Args, names) {
			return true
		}
		if l := c.Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Exec != nil && slices.ContainsFunc(l.PreStop.Exec.Command, names) {
			return true
		}
	}
	return false
}
