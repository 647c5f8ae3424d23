package diagnose

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"holdfast.dev/holdfast/injectors"
)

// mostNeighbours bounds how many configurations are asked about in one run, mostTries how many pods are created at once.
const (
	mostNeighbours = 20
	mostTries      = 4
)

// Labels of Istio's configurations (istio/istio, manifests/charts/istio-control/istio-discovery/templates and
// istioctl/pkg/util/common.go at eed52ebb66ad).
const (
	istioTag         = "istio.io/tag"
	istioRevision    = "istio.io/rev"
	istioDeactivated = "istio.io/deactivated"
	istioInjects     = ".sidecar-injector.istio.io"
	istioValidates   = "validation.istio.io"
)

// neighbour is one webhook configuration of an injector that we live with.
type neighbour struct {
	injector *injectors.Injector // nil for a configuration that only validates
	title    string
	revision string
	tag      string
	entries  []*Entry
	// resting tells that istioctl has put all its entries to rest, because a tag takes their place.
	resting bool
	all     *neighbourhood
}

// neighbourhood is what the neighbours of one run share.
type neighbourhood struct {
	list    []*neighbour
	tries   chan struct{}
	metrics memo[*callCounts]
	cloud   memo[Platform]
}

// injectorConfigurations lists the configurations of all injectors that the catalogue knows, mutating ones first, and the
// validating ones of the same programs.
func injectorConfigurations(ctx context.Context, s *Subject) ([]*Object, error) {
	entries, err := s.Entries(ctx)
	if err != nil {
		return nil, err
	}
	hooks, err := s.hooks(ctx)
	if err != nil {
		return nil, err
	}
	all := &neighbourhood{tries: make(chan struct{}, mostTries)}
	programs := map[string]string{} // titles by Service
	for _, e := range entries {
		if s.Ours(e) {
			continue
		}
		if e.Mutating {
			all.mutating(e, hooks, programs)
		} else {
			all.validating(e, programs)
		}
	}
	var objects []*Object
	for _, n := range all.list {
		if len(objects) == mostNeighbours {
			objects = append(objects, &Object{Name: fmt.Sprintf("%d more webhook configurations", len(all.list)-mostNeighbours)})
			break
		}
		objects = append(objects, &Object{Name: n.entries[0].Kind() + "/" + n.entries[0].Configuration, Value: n})
	}
	return objects, nil
}

func (all *neighbourhood) mutating(e *Entry, hooks []*injectors.Hook, programs map[string]string) {
	rests := restsNow(e)
	at := slices.IndexFunc(hooks, func(h *injectors.Hook) bool {
		return h.Configuration == e.Configuration && h.Name == e.Name && h.Injector != nil && !h.Self
	})
	if at < 0 && !rests {
		return
	}
	n := all.of(e)
	n.resting = n.resting && rests
	if n.title == "" {
		n.title, n.revision = "Istio", e.Labels[istioRevision]
	}
	if at >= 0 {
		n.injector, n.title, n.revision = hooks[at].Injector, hooks[at].Injector.Title, hooks[at].Revision
	}
	if service := e.ClientConfig.Service; service != nil && !rests {
		programs[service.Namespace+"/"+service.Name] = n.title
	}
}

func (all *neighbourhood) validating(e *Entry, programs map[string]string) {
	title := ""
	if service := e.ClientConfig.Service; service != nil {
		title = programs[service.Namespace+"/"+service.Name]
	}
	if title == "" && (e.Name == istioValidates || strings.HasSuffix(e.Name, "."+istioValidates)) {
		title = "Istio"
	}
	if title == "" {
		return
	}
	n := all.of(e)
	n.resting, n.title, n.revision = false, title, e.Labels[istioRevision]
}

// of returns the neighbour whose configuration the entry is in, with the entry added.
func (all *neighbourhood) of(e *Entry) *neighbour {
	for _, n := range all.list {
		if n.entries[0].Mutating == e.Mutating && n.entries[0].Configuration == e.Configuration {
			n.entries = append(n.entries, e)
			return n
		}
	}
	n := &neighbour{entries: []*Entry{e}, tag: e.Labels[istioTag], resting: true, all: all}
	all.list = append(all.list, n)
	return n
}

// restsNow tells whether istioctl has put an entry to rest: a label that no namespace has selects it.
func restsNow(e *Entry) bool {
	if !strings.HasSuffix(e.Name, istioInjects) || e.NamespaceSelector == nil {
		return false
	}
	_, rests := e.NamespaceSelector.MatchLabels[istioDeactivated]
	return rests
}

// aboutNeighbour makes a probe's function of one that is asked about a configuration at work.
func aboutNeighbour(ask func(ctx context.Context, s *Subject, n *neighbour) Result) func(context.Context, *Subject) Result {
	return func(ctx context.Context, s *Subject) Result {
		if s.About == nil {
			return notApplicable("there is nothing to ask about")
		}
		n, ok := s.About.Value.(*neighbour)
		switch {
		case !ok:
			return unknown("", "not asked: there are more than %d webhook configurations of injectors", mostNeighbours)
		case n.resting:
			return notApplicable("istioctl has put it to rest: no pod is sent to it")
		}
		r := ask(ctx, s, n)
		if r.State == Failed && r.Effect == "" {
			r.Effect = s.loss(ctx, n)
		}
		return r
	}
}

// where names the configuration as kubectl takes it.
func (n *neighbour) where() string { return n.entries[0].Where() }

// kept says who will undo what is changed by hand.
func (n *neighbour) kept() string { return kept(n.entries[0].Labels, n.entries[0].Annotations) }

// before returns a configuration that is told of before, and of which the same has to be said; nil where that is not certain: its line
// may be skipped, or be about something else. It calls nothing but the same place, so that what the place lacks is found at the same
// probe. What depends on the configuration itself, besides, is asked with also, which may be nil.
func (n *neighbour) before(c callee, also func(*neighbour) bool) *neighbour {
	for _, other := range n.all.list {
		if other == n {
			return nil
		}
		if !other.resting && other.title == n.title && slices.Equal(other.callees(), []callee{c}) && (also == nil || also(other)) {
			return other
		}
	}
	return nil
}

// elsewhere begins a fix that stands with another configuration.
const elsewhere = "What to do is the same, and stands at "

// again is such a fix.
func (n *neighbour) again(code string) string {
	return elsewhere + code + " of " + n.entries[0].Kind() + "/" + n.entries[0].Configuration + "."
}

// who names the program, and which of them.
func (n *neighbour) who() string {
	switch {
	case n.tag != "":
		return n.title + ", tag " + n.tag + " of revision " + n.revision
	case n.revision != "" && !strings.Contains(n.revision, "/"):
		return n.title + ", revision " + n.revision
	}
	return n.title
}

// count is the number of entries, in words.
func (n *neighbour) count() string {
	if len(n.entries) == 1 {
		return "1 entry"
	}
	return strconv.Itoa(len(n.entries)) + " entries"
}

// fails tells whether one of the entries turns objects away while it cannot be called.
func (n *neighbour) fails() bool { return slices.ContainsFunc(n.entries, (*Entry).Fails) }

// fate is what becomes of pods while it cannot be called.
func (n *neighbour) fate() string {
	switch mutating := n.entries[0].Mutating; {
	case mutating && n.fails():
		return "the pods that it selects are refused"
	case mutating:
		return "the pods that it selects start without what it adds, and nobody gets an error"
	case n.fails():
		return "what it checks is refused"
	}
	return "what it checks passes unchecked"
}

// policy is failurePolicy.
func (n *neighbour) policy() string {
	if n.fails() {
		return "failurePolicy Fail"
	}
	return "failurePolicy Ignore"
}

// loss says what a failure means for pods.
func (s *Subject) loss(ctx context.Context, n *neighbour) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	fate, policy := n.fate(), n.policy()
	if own := n.ownLabels(); len(own) > 0 && s.askedByNone(ctx, n) {
		fate = strings.Replace(fate, "the pods that it selects", "only pods whose workload's own template carries "+strings.Join(own, " or "), 1)
	}
	if n.entries[0].Mutating && n.fails() {
		policy += "; FailedCreate on their ReplicaSets"
	}
	return "Meanwhile " + fate + " (" + policy + ")."
}

// callees returns what the entries call, each once.
func (n *neighbour) callees() []callee {
	var out []callee
	for _, e := range n.entries {
		if c := e.callee(); !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// byURL tells whether none of the entries calls a Service.
func (n *neighbour) byURL() bool { return byURL(n.entries) }

// real returns the port that firewalls have to let pass, with what it is of: that of the pods, never that of the Service.
func (s *Subject) real(ctx context.Context, n *neighbour) (port int, whose string) {
	for _, c := range n.callees() {
		if c.url != "" {
			_, number, _ := net.SplitHostPort(c.address())
			port, _ = strconv.Atoi(number)
			return port, c.url
		}
		if b, err := s.behind(ctx, c); err == nil && len(b.targets) > 0 {
			return int(b.targets[0]), "the pods of Service " + c.namespace + "/" + c.name
		}
	}
	return 0, n.title
}

// open says how the way from the API server to where the webhook is served is opened.
func (n *neighbour) open(ctx context.Context, s *Subject) string {
	for _, c := range n.callees() {
		if loopback(c) {
			return "Look for what should listen at " + c.address() + ", on each API server's own machine."
		}
		if c.url != "" {
			return "Let the control plane's machines connect to " + c.address() + ": firewall for outgoing connections, proxy and NO_PROXY of the API server."
		}
	}
	port, whose := s.real(ctx, n)
	return OpenPort(n.platform(ctx, s), port, whose)
}

// platform is asked for once a run.
func (n *neighbour) platform(ctx context.Context, s *Subject) Platform {
	p, err := n.all.cloud.get(ctx, s.seen.life, func(ctx context.Context) (Platform, error) { return s.Platform(ctx), nil })
	if err != nil {
		return Platform{}
	}
	return p
}
