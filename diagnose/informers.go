package diagnose

import (
	"context"

	"holdfast.dev/holdfast/report"
)

func informers() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF219", Name: "informers", Severity: report.Error,
			Title: "the server has read the cluster, and follows its changes",
			Why:   "Holdfast judges from what it has read of the cluster. What it waits for, or is not given, is unknown: it predicts less, and refuses nothing on that account.",
			Fix:   "The message names what is not read. Look at the server's log, and at how the API server does.",
		},
		Needs:  []string{"HF218"},
		Inside: true,
		ask: func(_ context.Context, s *Subject) Result {
			waiting, missing := s.Server.Unread()
			switch {
			case len(waiting) > 0:
				return failed(logsOf(s), "not read yet: %s", list(waiting))
			case len(missing) > 0:
				return passed("everything but %s", list(missing))
			}
			return passed("everything")
		},
	}
}
