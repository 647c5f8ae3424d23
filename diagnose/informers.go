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
		harm:   dependsOnCase,
		After:  []string{"HF218"}, // a right that is missing need not be one that reading needs
		Inside: true,
		ask: func(ctx context.Context, s *Subject) Result {
			waiting, missing := s.Server.Unread()
			switch {
			case len(waiting) > 0:
				return failed(steps("It goes on trying by itself; its log says what the API server answers:", s.logs(), "If the log says nothing of it, new pods read everything again:", s.restart(ctx)),
					"not read yet: %s", list(waiting)).meaning("Pods start; what is not read is unknown to Holdfast, which foretells less and refuses nothing on that account.")
			case len(missing) > 0:
				return passed("everything but %s", list(missing))
			}
			return passed("everything")
		},
	}
}
