package diagnose

import (
	"context"
	"fmt"
	"time"

	"holdfast.dev/holdfast/report"
)

// State is how a probe ended.
type State string

// The states. Unknown means that nobody could tell: a right is missing, or no answer came in time. What does not exist in a
// cluster (cert-manager, a network policy) is not applicable, never passed.
const (
	Passed        State = "passed"
	Warning       State = "warning"
	Failed        State = "failed"
	Skipped       State = "skipped"
	NotApplicable State = "not-applicable"
	Unknown       State = "unknown"
)

// States returns all states, best first.
func States() []State { return []State{Passed, NotApplicable, Skipped, Unknown, Warning, Failed} }

// Probe is one question. Its title is a statement that is true on a good day.
type Probe struct {
	report.Topic

	// Needs are the codes of the probes that have to hold before the answer means anything: of the same group about the same
	// object, else of ourselves. Where one of them failed, or was itself skipped, this one is skipped.
	Needs []string
	// After are those whose answers are waited for as well, and may be anything.
	After []string
	// Inside tells that only the server can answer.
	Inside bool
	// Patience is how long the answer may take; usual where it is 0.
	Patience time.Duration
	// harm is what a failure does to pods, where the answer itself does not say.
	harm harm

	ask func(ctx context.Context, s *Subject) Result
}

// Result is the answer to a probe.
type Result struct {
	State   State
	Message string // what was seen: one clause in the present tense
	// Effect is what it means for pods while it lasts: one sentence.
	Effect string
	// Fix is what to do next, in lines as steps makes them.
	Fix    string
	cause  string // as Line.Cause, for answers that were given elsewhere
	denied bool   // a right of whoever asked is missing
}

// meaning returns the answer with what it means for pods.
func (r Result) meaning(effect string) Result {
	r.Effect = effect
	return r
}

// The ways to answer.

func passed(format string, args ...any) Result {
	return Result{State: Passed, Message: say(format, args)}
}

func failed(fix, format string, args ...any) Result {
	return Result{State: Failed, Message: say(format, args), Fix: fix}
}

func warn(fix, format string, args ...any) Result {
	return Result{State: Warning, Message: say(format, args), Fix: fix}
}

func notApplicable(format string, args ...any) Result {
	return Result{State: NotApplicable, Message: say(format, args)}
}

// skipped blames another probe for what cannot be asked.
func skipped(cause string) Result {
	return Result{State: Skipped, Message: "skipped because " + cause + " failed", cause: cause}
}

func unknown(fix, format string, args ...any) Result {
	return Result{State: Unknown, Message: say(format, args), Fix: fix}
}

// say fills a message. What is filled in may be anybody's: error texts, names in certificates, annotations. The lines of the
// message are those of the format.
func say(format string, args []any) string {
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			args[i] = report.OneLine(v)
		case error:
			args[i] = report.OneLine(v.Error())
		case fmt.Stringer:
			args[i] = report.OneLine(v.String())
		}
	}
	return fmt.Sprintf(format, args...)
}

// Group is a list of probes that belong together. Groups are asked at the same time.
type Group struct {
	Name   string // server, registration, way; stable
	Title  string // the heading above its lines
	Probes []Probe
	// About lists what the group is asked about, each with its own answers; nil where it is asked once, about ourselves. It
	// begins once the API server is known to answer.
	About func(ctx context.Context, s *Subject) ([]*Object, error)
}

// Object is what a group other than those about ourselves is asked about. Probes find it as Subject.About.
type Object struct {
	Name string // as people know it: MutatingWebhookConfiguration/istio-sidecar-injector
	// Value is what About found, for the probes of the same group alone.
	Value any
}

// Groups returns the groups in the order in which they are printed. A probe that is not listed is a function that nobody uses.
func Groups() []Group {
	return []Group{
		{Name: "server", Title: "Holdfast's server", Probes: []Probe{listener(), certificateFiles(), certificateValidity()}},
		{Name: "registration", Title: "What the API server is told", Probes: []Probe{apiServer(), certManager(), registered(), paths(), selectors(), caBundle()}},
		{Name: "way", Title: "The way from the API server to Holdfast", Probes: []Probe{
			service(), endpoints(), networkPolicies(), ownPods(), serviceTLS(), reached(),
		}},
		{Name: "footing", Title: "What Holdfast stands on", Probes: []Probe{callOrder(), failingClosed(), rights(), informers()}},
		{Name: "injectors", Title: "The injectors in the cluster", Probes: []Probe{
			injectorPresent(), injectorAddress(), injectorPort(), injectorEndpoints(), injectorCABundle(), injectorCertificate(), injectorOverlap(), injectorReached(), injectorCalls(),
		}, About: injectorConfigurations},
		{Name: "managed", Title: "Managed control planes", Probes: []Probe{managedRevision()}, About: managedRevisions},
		{Name: connectGroup, Title: "From here", Probes: []Probe{connectTo()}, About: addresses},
	}
}

// All returns the probes in the order in which they are printed.
func All() []Probe {
	var all []Probe
	for _, g := range Groups() {
		all = append(all, g.Probes...)
	}
	return all
}

// Topics returns the fixed texts of all probes.
func Topics() []report.Topic {
	all := All()
	topics := make([]report.Topic, len(all))
	for i := range all {
		topics[i] = all[i].Topic
	}
	return topics
}
