package diagnose

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

// reachedCode is the probe that the others lead up to.
const reachedCode = "HF215"

func reached() Probe {
	return Probe{
		Topic: report.Topic{
			Code: reachedCode, Name: "reached", Severity: report.Error,
			Title: "the API server reaches the server, through both webhooks",
			Why:   "A ConfigMap that was created as a dry run, in our own namespace, did not come back with the mark of the server, through the two entries that exist for this alone. With failurePolicy Ignore nobody else notices: pods are created as if Holdfast were not there. What is proven is that one API server reaches one replica.",
			Fix:   "The message is the API server's own. A timeout is a firewall between the control plane and the nodes (the port that is blocked is the server's, not 443); a refused connection, a server that does not listen or a sidecar in front of it; x509, the CA or the certificate.",
		},
		Needs:    []string{"HF201", "HF203", "HF207", "HF208", "HF209", "HF210", "HF211", "HF212", "HF213", "HF214"},
		Patience: 11 * time.Second, // both entries, with their timeouts of 5 s
		ask: func(ctx context.Context, s *Subject) Result {
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			for _, name := range []string{config.ProbeMutate, config.ProbeValidate} {
				if find(entries, name) == nil {
					return unknown("Apply the manifests of this version of Holdfast again.", "no webhook configuration has the entry %s", name)
				}
			}
			if s.Try == nil {
				return unknown("", "nothing may be created here")
			}
			began := s.Now()
			result, err := s.reach(ctx)
			if err != nil && stale(err.Error()) {
				result, err = s.reach(ctx)
			}
			if err != nil {
				return s.unreached(ctx, entries, err, s.Now().Sub(began))
			}
			return result
		},
	}
}

// reach asks the API server once. The error is its own.
func (s *Subject) reach(ctx context.Context) (Result, error) {
	nonce := strings.ToLower(rand.Text())
	back, warnings, err := s.Try(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "holdfast-probe-", Namespace: s.Own.Namespace,
		Labels:      map[string]string{config.ProbeLabel: config.ProbeLabelValue},
		Annotations: map[string]string{config.ProbeNonceAnnotation: nonce},
	}})
	if err != nil {
		return Result{}, err
	}
	return judgeAnswer(nonce, back, warnings), nil
}

// stale tells whether an error is that of a connection which the API server had kept and which has since ended: what a new
// one meets says more.
func stale(text string) bool {
	for _, words := range []string{"use of closed network connection", "client connection lost", "EOF", "connection reset", "broken pipe", "GOAWAY"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// judgeAnswer looks for the nonce in what came back.
func judgeAnswer(nonce string, back *corev1.ConfigMap, warnings []string) Result {
	again := "kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations -o yaml, and compare with the manifests."
	answer, replica, _ := strings.Cut(back.Annotations[config.ProbeAnswerAnnotation], " ")
	if answer != nonce {
		return failed(again, "the object was admitted without the mark of %s: the API server did not call it, or somebody removed the mark", config.ProbeMutate)
	}
	for _, w := range warnings {
		if rest, ok := strings.CutPrefix(w, config.ProbeWarning); ok {
			if answer, validating, _ := strings.Cut(rest, " "); answer == nonce {
				if validating != replica {
					return passed("%s answered the mutating call, %s the validating one (this proves one API server, and these two)", replica, validating)
				}
				return passed("%s answered both calls (this proves one API server and one replica)", replica)
			}
		}
	}
	return failed(again, "the object was admitted without the warning of %s: the API server did not call it", config.ProbeValidate)
}

// unreached says what an error of the API server means.
func (s *Subject) unreached(ctx context.Context, entries []*Entry, err error, took time.Duration) Result {
	text := err.Error()
	entry := config.ProbeMutate
	if strings.Contains(text, `"`+config.ProbeValidate+`"`) {
		entry = config.ProbeValidate
	}
	switch {
	case !strings.Contains(text, `"`+entry+`"`) && strings.Contains(text, "webhook \""):
		return unknown("Look at the webhook that the message names.", "another webhook keeps the probe's ConfigMap out, so that nothing can be told about ours: %s", text)
	case !strings.Contains(text, `"`+entry+`"`) && (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)):
		return unknown("Grant the right to create configmaps in namespace "+s.Own.Namespace+".", "a right is missing: %s", text)
	case !strings.Contains(text, `"`+entry+`"`):
		return unknown("", "the probe's ConfigMap was not admitted: %s", text)
	}
	cause, fix := s.explain(ctx, entries, text)
	fix += emergency(entries)
	if took >= time.Second {
		cause += fmt.Sprintf(" (%s)", round(took))
	}
	return failed(fix, "%s. The API server says: %s", cause, text)
}

// emergency is the line for those whose pods are not created meanwhile.
func emergency(entries []*Entry) string {
	var closed []string
	for _, e := range entries {
		if !e.Probe() && e.Fails() && !slices.Contains(closed, e.Where()) {
			closed = append(closed, e.Where())
		}
	}
	if len(closed) == 0 {
		return ""
	}
	return "\nUntil then no pod is created that Holdfast should see (failurePolicy Fail). In an emergency: kubectl delete " + strings.Join(closed, " ")
}

// explain names the cause that the words of an error stand for (client-go and net/http at Go 1.26, k8s.io/apiserver at 1.36).
func (s *Subject) explain(ctx context.Context, entries []*Entry, text string) (cause, fix string) {
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	port := s.port(ctx)
	called := fmt.Sprintf("port %d", port)
	if byURL(entries) {
		called = "the URL"
	}
	restart := "kubectl -n " + s.Own.Namespace + " get pods; " + logsOf(s)
	switch {
	case has("tunnel-uds", "konnectivity"):
		return "the tunnel between the control plane and the nodes is broken", "kubectl -n kube-system logs -l k8s-app=konnectivity-agent --tail=20; kubectl -n kube-system rollout restart deploy/konnectivity-agent"
	case has("Address is not allowed"):
		return "the control plane cannot reach pods on an overlay network", "Run Holdfast with hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet and a --webhook-port that is free on the nodes."
	case has("context deadline exceeded", "i/o timeout", "Client.Timeout", "request canceled", "no route to host"):
		return s.blocked(ctx, called, port)
	case has("connection refused"):
		return "nothing listens at " + called + ", or a firewall rejects the connection", restart
	case stale(text):
		return s.cutOff(called), restart
	case has("no endpoints available"):
		return "the Service has no ready endpoint", "kubectl -n " + s.Own.Namespace + " get pods,endpointslices"
	case has("x509:", "tls:"):
		return "the API server does not accept the certificate", "kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations -o yaml | grep caBundle; holdfast explain HF209"
	case has("no such host"):
		return "the API server cannot resolve the name", "Look at the DNS of the control plane's machines."
	case has("proxyconnect", "Proxy"):
		return "the API server goes through a proxy", "Add .svc and the Service network to NO_PROXY of the API server."
	case has("not found", "404", "could not find the requested resource"):
		return "what answers does not know the path", "Look whether another version of Holdfast runs: kubectl -n " + s.Own.Namespace + " get pods -o wide"
	}
	return "the call failed", restart
}

// blocked is for calls that got no answer at all.
func (s *Subject) blocked(ctx context.Context, called string, port int) (cause, fix string) {
	cause = "the control plane gets no answer from " + called
	if l := s.needed["HF212"]; l != nil && l.State == Warning {
		return cause + ", which a network policy may have closed (HF212)", l.Fix
	}
	looking, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	cause += ": something in between drops it, or the server hangs"
	if l := s.needed["HF214"]; l != nil && l.State == Passed {
		cause = "the control plane gets no answer from " + called + ", other pods do: a firewall between the control plane and the nodes drops it"
	}
	return cause, OpenPort(s.Platform(looking), port, "Holdfast's")
}

// cutOff is for connections that ended before an answer.
func (s *Subject) cutOff(called string) string {
	if l := s.needed["HF213"]; l != nil && l.State == Warning {
		return "what stands at " + called + " ends the connection: a mesh's proxy is in front of it (HF213)"
	}
	return "what stands at " + called + " ends the connection: a proxy in front of it, or a server that is going away"
}
