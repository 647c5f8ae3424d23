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
		Needs:    []string{"HF201", "HF203", "HF207", "HF209", "HF210", "HF211", "HF212", "HF213", "HF214"},
		After:    []string{"HF208"}, // a namespace that is left out says nothing of the way
		Patience: 11 * time.Second,  // both entries, with their timeouts of 5 s
		ask: func(ctx context.Context, s *Subject) Result {
			entries, err := s.ourEntries(ctx)
			if err != nil {
				return cannot(err)
			}
			for _, name := range []string{config.ProbeMutate, config.ProbeValidate} {
				if find(entries, name) == nil {
					return unknown("", "no webhook configuration has the entry %s: see HF207", name)
				}
			}
			if s.Try == nil {
				return unknown("", "nothing may be created here")
			}
			if l := s.needed["HF208"]; l != nil && l.State == Failed && s.unseenProbe(ctx, entries) {
				return skipped(l.Code)
			}
			began := s.Now()
			var result Result
			err = anew(func() (err error) {
				result, err = s.reach(ctx)
				return err
			})
			if err != nil {
				return s.unreached(ctx, entries, err, s.Now().Sub(began))
			}
			return result
		},
	}
}

// unseenProbe tells that the probe's own objects are left out by a selector.
func (s *Subject) unseenProbe(ctx context.Context, entries []*Entry) bool {
	namespaces, err := s.Namespaces(ctx)
	return err == nil && slices.ContainsFunc(entries, func(e *Entry) bool { return e.Probe() && s.leavesProbeOut(e, namespaces) != nil })
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
	return s.judgeAnswer(ctx, nonce, back, warnings), nil
}

// stale tells whether an error is that of a connection which the API server had kept and which has since ended: what a new
// one meets says more.
func stale(text string) bool {
	return speaksOf(text, "use of closed network connection", "client connection lost", "EOF", "connection reset", "broken pipe", "GOAWAY")
}

// anew does something again while it fails on such a connection. There may be one to each replica.
func anew(do func() error) (err error) {
	const most = 5
	for range most {
		if err = do(); err == nil || !stale(err.Error()) {
			return err
		}
	}
	return err
}

// judgeAnswer looks for the nonce in what came back.
func (s *Subject) judgeAnswer(ctx context.Context, nonce string, back *corev1.ConfigMap, warnings []string) Result {
	answer, replica, _ := strings.Cut(back.Annotations[config.ProbeAnswerAnnotation], " ")
	if answer != nonce {
		return failed(s.unasked(ctx), "the object was admitted without the mark of %s: the API server did not call it, or somebody removed the mark", config.ProbeMutate)
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
	return failed(s.unasked(ctx), "the object was admitted without the warning of %s: the API server did not call it", config.ProbeValidate)
}

// unasked is for entries that are there, and that the API server did not call.
func (s *Subject) unasked(ctx context.Context) string {
	entries, _ := s.ourEntries(ctx)
	var ignore []*Entry
	for _, e := range entries {
		if e.Probe() && !e.Fails() {
			ignore = append(ignore, e)
		}
	}
	if len(ignore) > 0 { // an error is swallowed
		return steps("Have the API server say why: these entries are to fail closed, for the probe's own objects alone:", patchEntries(ignore, op{"add", "/failurePolicy", "Fail"}),
			s.askAgain(ctx))
	}
	return steps("An API server learns of a change within seconds; ask again:", s.askAgain(ctx), "If it stays so, write the entries as they are shipped:", s.writeAgain(ctx, "--reset"))
}

// askAgain runs the probes once more.
func (s *Subject) askAgain(ctx context.Context) string { return s.holdfast(ctx, "diagnose") }

// unreached says what an error of the API server means.
func (s *Subject) unreached(ctx context.Context, entries []*Entry, err error, took time.Duration) Result {
	text := err.Error()
	entry := config.ProbeMutate
	if strings.Contains(text, `"`+config.ProbeValidate+`"`) {
		entry = config.ProbeValidate
	}
	switch {
	case !strings.Contains(text, `"`+entry+`"`) && strings.Contains(text, "webhook \""):
		return s.anotherWebhook(ctx, text)
	case !strings.Contains(text, `"`+entry+`"`) && (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)):
		return unknown(s.grantTry(ctx), "a right is missing: %s", text)
	case !strings.Contains(text, `"`+entry+`"`):
		return unknown("", "the probe's ConfigMap was not admitted: %s", text)
	}
	cause, fix := s.explain(ctx, entries, text)
	if open := failOpen(entries); open != "" {
		fix = steps(fix, "If pods must start meanwhile, have them start without Holdfast:", open)
	}
	if took >= time.Second {
		cause += fmt.Sprintf(" (%s)", round(took))
	}
	r := failed(fix, "%s. The API server says: %s", cause, text)
	if timedOut(text) {
		r.Effect = lateEffect(entries)
	}
	return r
}

// timedOut tells whether an error is that of a call without an answer.
func timedOut(text string) bool {
	return speaksOf(text, "context deadline exceeded", "i/o timeout", "Client.Timeout", "request canceled")
}

// waits is how long the API server waits for us, in vain, until it creates a pod all the same; 0 where it does not create it.
func waits(entries []*Entry) time.Duration {
	var all time.Duration
	for _, e := range entries {
		switch {
		case e.Probe() || !e.Creates("pods"):
		case e.Fails():
			return 0
		default:
			all += time.Duration(e.timeout()) * time.Second
		}
	}
	return all
}

// timeout is how long the API server waits for an answer to a pod, the longest where that differs.
func timeout(entries []*Entry) (longest time.Duration) {
	for _, e := range entries {
		if !e.Probe() && e.Creates("pods") {
			longest = max(longest, waits([]*Entry{e}))
		}
	}
	return longest
}

// lateEffect is what it means that these entries get no answer.
func lateEffect(entries []*Entry) string {
	if wait := waits(entries); wait > 0 {
		return "Meanwhile pods start as if Holdfast were not there, each " + round(wait) + " later (failurePolicy Ignore)."
	}
	return effectOf(entries)
}

// grantTry is how whoever asked is given the right to try.
func (s *Subject) grantTry(ctx context.Context) string {
	if s.Server == nil {
		return steps("Ask from inside, where the right is:", s.inside(ctx, "diagnose"), "Or as somebody who may create configmaps in namespace "+s.Own.Namespace+".")
	}
	return "HF218 says how it is given."
}

// explain names the cause that the words of an error stand for (client-go and net/http at Go 1.26, k8s.io/apiserver at 1.36).
func (s *Subject) explain(ctx context.Context, entries []*Entry, text string) (cause, fix string) {
	has := func(words ...string) bool { return speaksOf(text, words...) }
	port := s.port(ctx)
	called := fmt.Sprintf("port %d", port)
	if byURL(entries) {
		called = "the URL"
	}
	switch {
	case has("tunnel-uds", "konnectivity"):
		return "the tunnel between the control plane and the nodes is broken", steps("Start its agents anew:", restartTunnel,
			"If that does not help, see what they say:", "kubectl -n kube-system logs deploy/konnectivity-agent --tail=20")
	case has("Address is not allowed"):
		return "the control plane cannot reach pods on an overlay network", s.hostNetwork(ctx)
	case timedOut(text), has("no route to host"):
		return s.blocked(ctx, called, port)
	case has("connection refused"):
		return s.rejected(ctx, called, port)
	case stale(text):
		return s.cutOff(ctx, called)
	case has("no endpoints available"):
		return "the Service has no ready endpoint", steps("It had one a moment ago, as HF211 says; see what its pods do:", s.kubectl()+" get pods,endpointslices -o wide", s.logs(),
			"If they come and go, start them anew:", s.restart(ctx))
	case has("x509:", "tls:"):
		return "the API server does not accept the certificate", steps("HF203 and HF209 say what is wrong with it where they fail. If both pass, this API server has not read the CA yet; ask again:", s.askAgain(ctx),
			"If it stays so, a proxy ends TLS in between: start the pods anew, and look whether somebody has put one in:", s.restart(ctx), s.kubectl()+" get pods -o wide")
	case has("no such host"):
		return "the API server cannot resolve the name", s.unresolved(ctx, entries)
	case has("proxyconnect", "Proxy"):
		return "the API server goes through a proxy", "Add .svc and the Service network to NO_PROXY in the environment of the API server, on the machines of the control plane: no command of kubectl's does that."
	case has("not found", "404", "could not find the requested resource"):
		return "what answers does not know the path", steps("A pod of another version answers, until the rollout is over; have all be of one:", s.kubectl()+" rollout status "+s.deploymentName(ctx)+" --timeout=60s", s.restart(ctx),
			"If it stays so, see which images run:", s.kubectl()+" get pods -o custom-columns='NAME:.metadata.name,IMAGE:.spec.containers[*].image'")
	}
	return "the call failed", steps("See what the servers say of it, and start them anew:", s.logs(), s.restart(ctx))
}
