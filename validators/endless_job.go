package validators

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

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
			if !i.target.Job || i.tellsToQuit() {
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

// tellsToQuit tells whether a container of the user's names one of the known ways to end a sidecar: an endpoint for it, or a
// program that wraps the work and calls that.
func (i *inspection) tellsToQuit() bool {
	for k := range i.plan.Mains {
		s := &i.plan.Mains[k]
		if c := i.plan.Container(s); c != nil && (s.Role == injectors.Own || s.Wrapped) && (slices.ContainsFunc(c.Command, quits) || slices.ContainsFunc(c.Args, quits) || quitsLater(c)) {
			return true
		}
	}
	return false
}

// quits knows Envoy's and pilot-agent's /quitquitquit, Linkerd's and Dapr's /shutdown, consul-dataplane's /graceful_shutdown,
// linkerd-await --shutdown and scuttle, and a signal sent by pkill or killall into a shared process namespace.
func quits(word string) bool {
	for _, way := range [...]string{"quitquitquit", "linkerd-await", "/shutdown", "graceful_shutdown", "scuttle", "pkill ", "killall "} {
		if strings.Contains(word, way) {
			return true
		}
	}
	return false
}

func quitsLater(c *corev1.Container) bool {
	return c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Exec != nil && slices.ContainsFunc(c.Lifecycle.PreStop.Exec.Command, quits)
}
