package diagnose

import (
	"context"
	"net"
	"strconv"

	"holdfast.dev/holdfast/report"
)

// listenerCode is the probe that the server's own answers hang on.
const listenerCode = "HF201"

func listener() Probe {
	return Probe{
		Topic: report.Topic{
			Code: listenerCode, Name: "listener", Severity: report.Error,
			Title: "the server listens on its port",
			Why:   "Nothing accepts connections on the port of the webhook server: it is still starting, it could not take the port, or it hangs. Every call of the API server fails with \"connection refused\".",
			Fix:   "Read the server's log, which says why it does not listen; keep it, and have the Deployment make another pod.",
		},
		Inside: true,
		ask: func(ctx context.Context, s *Subject) Result {
			address := net.JoinHostPort("localhost", strconv.Itoa(s.Own.Port))
			c, err := s.Dial(ctx, address)
			if err != nil {
				return failed(s.deaf(), "nothing listens on port %d of pod %s: %v", s.Own.Port, s.Server.Replica, err)
			}
			_ = c.Close()
			return passed("port %d accepts connections", s.Own.Port)
		},
	}
}

// deaf is what to do about this replica of ours: its log goes with it.
func (s *Subject) deaf() string {
	pod := s.Server.Replica
	return steps("Have the Deployment make another pod; the log of this one stays in this directory:",
		s.kubectl()+" logs "+pod+" > "+pod+".log",
		s.kubectl()+" delete pod "+pod,
		"If the next one is the same, its log says why:",
		s.logs())
}
