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
		harm: dependsOnCase,
		ask: func(ctx context.Context, s *Subject) Result {
			// Shorter than the patience with a probe: silence is an answer too, and the cause of everything after it.
			asking, cancel := context.WithTimeout(ctx, usual-time.Second)
			defer cancel()
			answer, err := s.Raw(asking, "/version")
			switch {
			case err != nil && asking.Err() != nil:
				return failed(s.askIt(), "no answer within %s: something in between drops the packets, or it hangs", round(usual-time.Second)).meaning(blind)
			case err != nil:
				return failed(s.askIt(), "%v", err).meaning(blind)
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

// blind is what it means that the API server cannot be asked.
const blind = "Nothing can be told about pods until it answers."

// askIt tells an API server that is down from a way to it that is broken.
func (s *Subject) askIt() string {
	if s.Server == nil {
		return steps("See which address is asked, and whether it answers at all:",
			"kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}'",
			"kubectl get --raw '/readyz?verbose' --request-timeout=5s",
			"If it answers elsewhere, something keeps you from it here: a VPN, a proxy, a list of addresses that may connect.",
			"If it answers nobody, look at the machines of the control plane, or at the state of your provider.")
	}
	return steps("See whether it answers you:",
		"kubectl get --raw '/readyz?verbose' --request-timeout=5s",
		"If it does, something keeps the pods of Holdfast from it, such as a NetworkPolicy for egress, and new pods may do better:",
		s.kubectl()+" get networkpolicies",
		s.kubectl()+" rollout restart deploy/"+s.Own.Service,
		"If it does not, look at the machines of the control plane, or at the state of your provider.")
}
