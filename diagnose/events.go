package diagnose

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/report"
)

// eventTimeout bounds the writing of all Events of a turn.
const eventTimeout = 5 * time.Second

// maxEvents bounds those of one turn: what fails first says it all.
const maxEvents = 5

// events writes an Event on our Deployment for each probe that failed, or warns, and did not before, and for each that has
// recovered from that.
func (w *Watch) events(ctx context.Context, turned []turn) {
	var worth []turn
	for _, t := range turned {
		bad, was := t.now.State == Failed || t.now.State == Warning, t.was != nil && (t.was.State == Failed || t.was.State == Warning)
		if bad || was && t.now.State == Passed {
			worth = append(worth, t)
		}
	}
	if len(worth) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	subject := *w.subject
	subject.seen = newSeen(ctx)
	d, err := subject.deployment(ctx)
	if err != nil || d == nil {
		w.log.V(1).Info("no event was written: the Deployment was not found")
		return
	}
	now := w.subject.Now()
	for i, t := range worth[:min(len(worth), maxEvents)] {
		e := newEvent(t.now, now, subject.Server.Replica)
		e.Namespace, e.Name = d.Namespace, fmt.Sprintf("%s.%x", d.Name, now.UnixNano()+int64(i)) // as client-go names them
		e.InvolvedObject = corev1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: d.Namespace, Name: d.Name, UID: d.UID}
		if _, err := w.subject.Client.CoreV1().Events(d.Namespace).Create(ctx, e, metav1.CreateOptions{}); err != nil {
			w.log.V(1).Info("an event was not written", "reason", err.Error())
			return
		}
	}
}

func newEvent(l *Line, now time.Time, replica string) *corev1.Event {
	kind, reason := corev1.EventTypeWarning, "ProbeFailed"
	switch l.State {
	case Passed:
		kind, reason = corev1.EventTypeNormal, "ProbePassed"
	case Warning:
		reason = "ProbeWarning"
	case Failed, Skipped, NotApplicable, Unknown:
	}
	text := l.Code + " " + l.Name
	if l.Object != "" {
		text += " " + l.Object
	}
	const most = 1024 // k8s.io/kubernetes, pkg/apis/core/validation/events.go at 1.36
	at := metav1.NewTime(now)
	return &corev1.Event{
		Type: kind, Reason: reason, Message: report.Shorten(strings.TrimSpace(sentence(text+": "+l.Message)+" "+begin(l.Fix)), most-8),
		Source: corev1.EventSource{Component: "holdfast", Host: replica}, ReportingController: "holdfast.dev/diagnose", ReportingInstance: replica,
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
}

// begin returns the first step of a fix: a line, with the command that it leads to.
func begin(fix string) string {
	lines := strings.SplitN(fix, "\n", 3)
	if len(lines) > 1 && strings.HasSuffix(lines[0], ":") && command(lines[1]) {
		return lines[0] + " " + lines[1]
	}
	return lines[0]
}
