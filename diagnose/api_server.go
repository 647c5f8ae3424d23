package diagnose

import (
	"context"
	"encoding/json"
	"time"

	"holdfast.dev/holdfast/report"
)

func apiServer() Probe {
	return Probe{
		Topic: report.Topic{
			Code: apiServerCode, Name: "api-server", Severity: report.Error,
			Title: "the API server answers",
			Why:   "The API server does not answer this client. Nothing else about the cluster can be told until it does.",
			Fix:   "Look at the API server, and at what lies between: the address in the kubeconfig, a network policy for egress, a proxy in the environment.",
		},
		ask: func(ctx context.Context, s *Subject) Result {
			// Shorter than the patience with a probe: silence is an answer too, and the cause of everything after it.
			asking, cancel := context.WithTimeout(ctx, usual-time.Second)
			defer cancel()
			answer, err := s.Raw(asking, "/version")
			switch {
			case err != nil && asking.Err() != nil:
				return failed("kubectl get --raw /readyz --request-timeout=5s", "no answer within %s: something in between drops the packets, or it hangs", round(usual-time.Second))
			case err != nil:
				return failed("kubectl get --raw /readyz", "%v", err)
			}
			var version struct {
				Git string `json:"gitVersion"`
			}
			if err := json.Unmarshal(answer, &version); err != nil || version.Git == "" {
				return passed("it answers")
			}
			return passed("%s", version.Git)
		},
	}
}
