package diagnose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// Patience with a dry-run pod: most webhooks time out after 10 s, and their error text is the best evidence there is.
const (
	reachPatience = 12 * time.Second
	// slow is what an answer takes that somebody has waited for.
	slow        = 2 * time.Second
	tryPatience = 11500 * time.Millisecond
	// tryReserve is what judging it takes.
	tryReserve = 500 * time.Millisecond
)

func injectorReached() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF238", Name: "injector-reached", Severity: report.Error,
			Title: "the API server reaches it",
			Why:   "A pod that the configuration selects was created as a dry run, and the API server could not call the injector for it. Its error names the port of the Service (443); what matters is the port of the pods. With failurePolicy Fail such pods are refused, with Ignore they start without what the injector adds. One answer proves one API server and one replica.",
			Fix:   "The message is the API server's own. A timeout is a firewall between the control plane and the nodes: open the port of the injector's pods, such as istiod's 15017. A refused connection: nothing listens, or a firewall rejects. x509: the CA or the certificate.",
		},
		Needs:    []string{"HF232", "HF233", "HF234", "HF235"},
		After:    []string{certificateCode, reachedCode},
		Patience: reachPatience,
		ask:      aboutNeighbour(injects),
	}
}

func injects(ctx context.Context, s *Subject, n *neighbour) Result {
	switch {
	case !n.entries[0].Mutating:
		return notApplicable("it is not called for pods")
	case s.TryPod == nil:
		return notApplicable("the server creates nothing outside of its own namespace; holdfast diagnose tries it, with the rights of who runs it")
	}
	if l := s.needed[certificateCode]; l != nil && l.State == Failed {
		return skipped(certificateCode)
	}
	if l := s.needed[reachedCode]; l != nil && l.State == Failed && l.Seconds > slow.Seconds() {
		return Result{State: Skipped, Message: "skipped because " + reachedCode + " failed: the API server waits for Holdfast at each pod", cause: reachedCode}
	}
	namespaces, err := s.Namespaces(ctx)
	if err != nil {
		return cannot(err)
	}
	sample := n.sample(s, namespaces)
	if sample == nil {
		return notApplicable("it selects no namespace of the cluster")
	}
	return s.try(ctx, n, sample)
}

// try creates the pod as a dry run, a few at once, and judges what came of it.
func (s *Subject) try(ctx context.Context, n *neighbour, sample *sample) Result {
	select {
	case n.all.tries <- struct{}{}:
		defer func() { <-n.all.tries }()
	case <-ctx.Done():
		return unknown("", "others were tried first, and the time is over")
	}
	var before *callCounts // without them there are other ways to tell
	if !sample.entry.Fails() {
		before, _ = s.readCalls(ctx)
	}
	patience := tryPatience
	if until, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(until)-tryReserve)
	}
	if patience < slow { // no answer would tell nothing
		return unknown("", "the time was almost over before it could be tried")
	}
	trying, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var back *corev1.Pod
	err := anew(func() (err error) {
		back, _, err = s.TryPod(trying, sample.pod)
		return err
	})
	switch {
	case err != nil && trying.Err() != nil:
		return s.unanswered(ctx, n, sample, patience)
	case err != nil:
		return s.notAdmitted(ctx, n, sample, before, err)
	case n.acted(back):
		return passed("%s acted on a dry-run pod in namespace %s (this proves one API server and one replica)", n.title, sample.pod.Namespace)
	case len(sample.entry.MatchConditions) > 0:
		return unknown("", "a dry-run pod in namespace %s came back unchanged; whether its matchConditions let the pod through is not known", sample.pod.Namespace)
	case sample.entry.Fails():
		return passed("%s was called for a dry-run pod in namespace %s, and left it alone", n.title, sample.pod.Namespace)
	}
	return s.letThrough(ctx, n, sample, before)
}

// acted tells whether the injector has changed a pod.
func (n *neighbour) acted(pod *corev1.Pod) bool {
	if n.injector == nil || pod == nil {
		return false
	}
	if n.injector.Marked != nil && n.injector.Marked(injectors.PodTarget(pod, &injectors.Namespace{Name: pod.Namespace})) {
		return true
	}
	for i := range pod.Spec.InitContainers {
		if _, its := n.injector.Containers[pod.Spec.InitContainers[i].Name]; its {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if _, its := n.injector.Containers[pod.Spec.Containers[i].Name]; its {
			return true
		}
	}
	return false
}

// unanswered is for a dry run that took longer than anybody waits, or than there was time.
func (s *Subject) unanswered(ctx context.Context, n *neighbour, try *sample, patience time.Duration) Result {
	port, whose := s.real(ctx, n)
	timeout := try.entry.timeout()
	if s.silentHere() {
		return failed(s.sameHere(), "the API server has no answer from port %d of %s after %s, nor has another pod: something drops it, or it hangs (timeoutSeconds %d)",
			port, whose, round(patience), timeout)
	}
	if other := s.hanging(ctx); other != "" {
		return Result{State: Skipped, Message: "skipped because " + certificateCode + " failed: " + other + " hangs, and the API server waits for it at each pod", cause: certificateCode}
	}
	how := "hangs"
	if patience < time.Duration(timeout)*time.Second {
		how = "is slow, or hangs"
	}
	return warn(steps("See whether it is this one, which has the API server say so:", try.command(), n.open(ctx, s)),
		"a dry-run pod in namespace %s got no answer within %s: one of the webhooks for pods %s; this one is given %d s", try.pod.Namespace, round(patience), how, timeout)
}

// hanging names a configuration that the server has found to hang; "" where there is none.
func (s *Subject) hanging(ctx context.Context) string {
	r, err := s.serverReport(ctx)
	if err != nil {
		return ""
	}
	for i := range r.Probes {
		if l := &r.Probes[i]; l.Code == certificateCode && l.State == Failed && strings.Contains(l.Message, mute) {
			return l.Object
		}
	}
	return ""
}

// silentHere tells that other pods get no answer either; sameHere is what to do then.
func (s *Subject) silentHere() bool {
	l := s.needed[certificateCode]
	return l != nil && l.State == Warning
}

func (s *Subject) sameHere() string {
	return "Do what " + certificateCode + " says above: it stands in everybody's way. What the API server still says once other pods get an answer is about the control plane's own firewall."
}

// notAdmitted says what an error of the API server means.
func (s *Subject) notAdmitted(ctx context.Context, n *neighbour, try *sample, before *callCounts, err error) Result {
	text := err.Error()
	whose, named := webhookIn(text)
	ours := named && find(n.entries, whose) != nil
	switch {
	case ours && strings.Contains(text, "does not support dry run"):
		return notApplicable("it does not support dry runs: %s", text)
	case ours && strings.Contains(text, "failed calling webhook"):
		cause, fix := s.whyUncalled(ctx, n, text)
		return failed(steps(fix, s.missed(ctx, n)), "%s\n%s", cause, text)
	case ours:
		return passed("it answered, and refused a bare dry-run pod in namespace %s: %s", try.pod.Namespace, text)
	case !named && apierrors.IsForbidden(err) && strings.Contains(text, "cannot create resource"):
		return unknown("Ask as somebody who may create pods in namespace "+try.pod.Namespace+".", "a right is missing: %s", text)
	case !s.afterwards(ctx, try.entry, whose, named, text):
	case !try.entry.Fails():
		return s.letThrough(ctx, n, try, before)
	default:
		return passed("it was called for a dry-run pod in namespace %s, which somebody else refused later: %s", try.pod.Namespace, text)
	}
	if named {
		return unknown("Look at the webhook that the message names.", "another webhook keeps the probe's pod out: %s", text)
	}
	return unknown("", "the probe's pod was not admitted in namespace %s: %s", try.pod.Namespace, text)
}

// webhookIn returns the webhook that an error names.
func webhookIn(text string) (string, bool) {
	_, rest, ok := strings.Cut(text, `webhook "`)
	if !ok {
		return "", false
	}
	name, _, ok := strings.Cut(rest, `"`)
	return name, ok
}

// afterwards tells whether a refusal is of somebody who comes after the entry, so that the entry was called before: webhooks
// are called in order, Pod Security and quotas judge what they made (k8s.io/kubernetes, pkg/kubeapiserver/options/plugins.go).
func (s *Subject) afterwards(ctx context.Context, e *Entry, whose string, named bool, text string) bool {
	if !named {
		return strings.Contains(text, "violates PodSecurity") || strings.Contains(text, "exceeded quota") || strings.Contains(text, "ValidatingAdmissionPolicy")
	}
	all, err := s.Entries(ctx)
	if err != nil {
		return false
	}
	mine := slices.IndexFunc(all, func(o *Entry) bool { return o.Mutating && o.Configuration == e.Configuration && o.Name == e.Name })
	theirs := slices.IndexFunc(all, func(o *Entry) bool { return o.Name == whose })
	return mine >= 0 && theirs > mine
}

// letThrough looks for signs of a call, or of one that failed, where failurePolicy Ignore hides both.
func (s *Subject) letThrough(ctx context.Context, n *neighbour, try *sample, before *callCounts) Result {
	key := callKey{try.entry.Name, true}
	var grown callCount
	if after, err := s.readCalls(ctx); err == nil && before != nil && after.process == before.process {
		grown = after.by[key].minus(before.by[key])
	}
	text, state := s.throughProxy(ctx, try.entry)
	switch {
	case grown.open > 0 && text == "":
		return failed(steps(s.uncalled(ctx, n), s.missed(ctx, n)), "the API server could not call %s for a dry-run pod in namespace %s, and let it through (fail_open_count has grown)",
			try.entry.Name, try.pod.Namespace)
	case state == Failed:
		cause, fix := s.whyUncalled(ctx, n, text)
		return failed(steps(fix, s.missed(ctx, n)), "%s\n%s", cause, text)
	case grown.all > 0:
		return passed("%s was called for a dry-run pod in namespace %s, and left it alone", n.title, try.pod.Namespace)
	case state == Passed:
		return passed("%s left a dry-run pod in namespace %s alone; its Service answers the API server", n.title, try.pod.Namespace)
	}
	return unknown("", "a dry-run pod in namespace %s came back unchanged, and with failurePolicy Ignore nothing tells whether %s was called", try.pod.Namespace, n.title)
}

// uncalled is what to do where a call failed, and nothing tells why.
func (s *Subject) uncalled(ctx context.Context, n *neighbour) string {
	l := s.needed[certificateCode]
	switch {
	case s.silentHere():
		return s.sameHere()
	case l != nil && l.State == Passed:
		return steps("Another pod gets an answer ("+certificateCode+"), so that the way from the control plane is next.", n.open(ctx, s))
	}
	c := n.callees()[0]
	b, err := s.behind(ctx, c)
	if err != nil || c.url != "" {
		return n.open(ctx, s)
	}
	return steps(s.unanswering(n, c, b, s.health(ctx, b, c), true), "If all is well there, the way from the control plane is next.", n.open(ctx, s))
}

// throughProxy has the API server connect to the pods of a Service as it does for a webhook, and returns its error text. Any
// answer will do. It verifies no certificate.
func (s *Subject) throughProxy(ctx context.Context, e *Entry) (text string, state State) {
	c := e.callee()
	if c.url != "" || s.Raw == nil {
		return "", Unknown
	}
	_, err := s.Raw(ctx, fmt.Sprintf("/api/v1/namespaces/%s/services/https:%s:%d/proxy%s", c.namespace, c.name, c.port, e.Path()))
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return "", Passed
	case ctx.Err() != nil:
		return "", Unknown
	case strings.Contains(err.Error(), "error trying to reach service"):
		return err.Error(), Failed
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "services/proxy"):
		return "", Unknown
	case errors.As(err, &status) && status.Status().Code < 500:
		return "", Passed
	}
	return "", Unknown
}

// whyUncalled names the cause that the words of an error stand for, and what to do (client-go and net/http at Go 1.26,
// k8s.io/apiserver and its webhook client at 0.36).
func (s *Subject) whyUncalled(ctx context.Context, n *neighbour, text string) (cause, fix string) {
	port, whose := s.real(ctx, n)
	at := fmt.Sprintf("port %d of %s", port, whose)
	c := n.callees()[0]
	switch {
	case speaksOf(text, "tunnel-uds", "konnectivity"):
		return "the tunnel between the control plane and the nodes is broken", steps("Look at its agents, and start them anew:",
			"kubectl -n kube-system logs -l k8s-app=konnectivity-agent --tail=20", "kubectl -n kube-system rollout restart deploy/konnectivity-agent")
	case speaksOf(text, "Address is not allowed"):
		return "the control plane cannot reach pods on an overlay network", "Run " + n.title + "'s injector with hostNetwork: true, on a port that is free on the nodes."
	case speaksOf(text, "x509:", "tls:"):
		return "the API server does not accept the certificate of " + whose, s.bundleAgain(ctx, n, n.at(c), nil)
	case speaksOf(text, "no such host") && c.url == "":
		return s.strangeName(ctx, c)
	case speaksOf(text, "no such host"):
		return "the API server cannot resolve the name in " + c.String(), s.callService(ctx, n, n.at(c), s.inCluster(ctx, n))
	case speaksOf(text, "connection refused"):
		return s.whyRefused(ctx, n, c, at)
	case speaksOf(text, "no route to host", "operation not permitted", "permission denied"):
		return "a firewall rejects the connection to " + at, n.open(ctx, s)
	case speaksOf(text, "context deadline exceeded", "i/o timeout", "Client.Timeout", "request canceled", "Timeout: request did not complete"):
		return s.whyNoAnswer(ctx, n, at)
	}
	return s.whyOtherwise(ctx, n, text, at)
}

// strangeName is for a Service that stands for a name which the API server cannot resolve.
func (s *Subject) strangeName(ctx context.Context, c callee) (cause, fix string) {
	b, err := s.behind(ctx, c)
	if err != nil || b.service == nil || b.service.Spec.ExternalName == "" {
		return "the API server cannot resolve the name of " + c.String(), steps("See what the Service leads to:", "kubectl -n "+c.namespace+" get service "+c.name+" -o yaml",
			"Have the name resolve for the control plane's machines, which do not ask the cluster's DNS.")
	}
	name := b.service.Spec.ExternalName
	return "the API server cannot resolve " + name + ", the name that " + c.String() + " stands for",
		steps("Have "+name+" resolve for the control plane's machines, which do not ask the cluster's DNS.",
			"Or write the right name into spec.externalName of the Service:", "kubectl -n "+c.namespace+" edit service "+c.name, kept(b.service.Labels, b.service.Annotations))
}

// whyRefused tells what has ended from a firewall that rejects: by another pod's try, else by the injector's pods.
func (s *Subject) whyRefused(ctx context.Context, n *neighbour, c callee, at string) (cause, fix string) {
	if l := s.needed[certificateCode]; l != nil && l.State == Passed {
		return "a firewall between the control plane and the nodes rejects the connection to " + at + ": other pods get an answer there", n.open(ctx, s)
	}
	b, _ := s.behind(ctx, c) // empty where nobody can tell
	h := s.health(ctx, b, c)
	switch {
	case h.ill != "":
		return "nothing listens at " + at + ": " + h.ill, h.fix(b, c)
	case h.known:
		return "a firewall rejects the connection to " + at + ", or nothing listens there, though the pods are ready",
			steps("See whether its log speaks of the port. If it does not, the firewall is next:", h.logs(b, c), n.open(ctx, s))
	}
	return "nothing listens at " + at + ", or a firewall rejects the connection", s.unanswering(n, c, b, h, true)
}

// whyNoAnswer tells a firewall of the control plane's from one that is in everybody's way.
func (s *Subject) whyNoAnswer(ctx context.Context, n *neighbour, at string) (cause, fix string) {
	switch l := s.needed[certificateCode]; {
	case s.silentHere():
		return "the API server gets no answer from " + at + ", nor does another pod: a network policy or a firewall drops it, or it hangs", s.sameHere()
	case l != nil && l.State == Passed:
		return "the API server gets no answer from " + at + ", other pods do: a firewall between the control plane and the nodes drops it", n.open(ctx, s)
	}
	c := n.callees()[0]
	b, _ := s.behind(ctx, c) // empty where nobody can tell
	h := s.health(ctx, b, c)
	if h.ill != "" {
		return "the API server gets no answer from " + at + ": " + h.ill, h.fix(b, c)
	}
	return "the API server gets no answer from " + at + ": something in between drops it, or it hangs", steps(n.open(ctx, s), "If that port is open, look here:", s.unanswering(n, c, b, h, false))
}

func (s *Subject) whyOtherwise(ctx context.Context, n *neighbour, text, at string) (cause, fix string) {
	c := n.callees()[0]
	b, _ := s.behind(ctx, c) // empty where nobody can tell
	pods := s.unanswering(n, c, b, health{}, true)
	switch {
	case speaksOf(text, "no endpoints available") && b.service != nil:
		why, fix := s.noneReady(ctx, b, c)
		return "no ready pod stands behind it: " + why, fix
	case speaksOf(text, `service "`) && speaksOf(text, "not found", "no service port"):
		return "the Service, or its port, is not there", s.leftOver(ctx, n)
	case speaksOf(text, "EOF", "connection reset", "broken pipe"):
		return "what stands at " + at + " ends the connection: a proxy in front of it, or a server that is going away", pods
	case speaksOf(text, "HTTP response to HTTPS client", "could not find the requested resource", "404"):
		return "what stands at " + at + " is not " + n.title + "'s webhook", pods
	case speaksOf(text, `an error on the server ("unknown")`) && n.byURL():
		return "the managed control plane answers with an error", steps("Its conditions say why; the Connect gateway API has to be enabled, too:", "kubectl -n istio-system describe controlplanerevisions")
	}
	return "the call failed", pods
}
