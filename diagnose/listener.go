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
			Fix:   "Read the server's log, which says why it does not listen.",
		},
		Inside: true,
		ask: func(ctx context.Context, s *Subject) Result {
			address := net.JoinHostPort("localhost", strconv.Itoa(s.Own.Port))
			c, err := s.Dial(ctx, address)
			if err != nil {
				return failed("Read the log: kubectl -n "+s.Own.Namespace+" logs deploy/"+s.Own.Service, "nothing listens on port %d: %v", s.Own.Port, err)
			}
			_ = c.Close()
			return passed("port %d accepts connections", s.Own.Port)
		},
	}
}
