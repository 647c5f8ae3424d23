// Package mutators holds the remedies: ways to put a plan right, one file each, and the choice between them. A remedy
// proposes explicit changes to the pod; the choice keeps only those after which the plan is better. It never names an
// injector and never does I/O.
package mutators

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// AppliedAnnotation names the remedies that changed a pod. It is for people and never read to decide anything.
const AppliedAnnotation = "holdfast.dev/applied"

// When says from where the choice looks at the pod.
type When uint8

// Mutating is in /mutate, where changes still take effect. Hindsight is in /validate, where every hook has run: the outcome
// is what enforce mode would have done on the way there. Foresight looks at a template: the outcome is what enforce mode will
// do to its pods, and the patch what of that is done to the template.
const (
	Mutating When = iota
	Hindsight
	Foresight
)

// Remedy is one way to put a plan right.
type Remedy struct {
	Name  string
	Title string
	// Says where the remedy does not act, for the documentation.
	Never string

	act func(d *draft)
}

// All returns the remedies in the order in which they are tried: what adds least comes first.
func All() []Remedy {
	all := list()
	return all[:]
}

// list is an array, so that walking it costs nothing.
func list() [9]Remedy {
	return [...]Remedy{
		hold(), startFirst(), restoreSidecar(), reorder(), exemptIdentity(), exemptAddress(), exemptPort(), serverFirstPorts(), webhookInboundPort(),
	}
}

// Outcome is what the remedies make of a pod.
type Outcome struct {
	Patch    Patch
	Remedies []string // in the order in which they were applied
	Plan     *injectors.Plan
}

// Choose puts a plan right as far as the remedies can. A plan that needs nothing gets an empty outcome.
func Choose(p *injectors.Plan, c *config.Config, when When) Outcome {
	d := draft{plan: p, config: c, when: when, horizon: injectors.Rest, exempt: exemptionsOf(p.Target, c, p.Env.Now)}
	switch {
	case p.Target.Template():
		d.horizon = injectors.All
	case when == Hindsight:
		d.horizon = injectors.Fact
	}
	d.look()
	// Most pods need nothing: nothing is built for them.
	if d.late == 0 && !d.races && !d.lost && !d.configured() {
		return Outcome{Plan: p}
	}
	for _, r := range list() {
		if c.Remedy(r.Name) && (!p.Target.Template() || r.Name == config.Hold || when == Foresight) {
			d.name = r.Name
			r.act(&d)
		}
	}
	d.stamp()
	return Outcome{Patch: d.patch, Remedies: d.applied, Plan: d.plan}
}

// draft is a pod being put right.
type draft struct {
	plan    *injectors.Plan
	config  *config.Config
	when    When
	horizon injectors.Horizon

	// imagined tells that the plan shows what the target does not have: a plan made of the target would lose it.
	imagined bool

	name    string // of the remedy that acts
	patch   Patch
	applied []string

	exempt exemptions
	tried  int  // containers in all plans that were tried
	late   int  // dialers that cannot reach their destination
	races  bool // an app that may start before its proxy
	lost   bool // a native sidecar that is one no more
}

// exemptions tell from which rules the pod is exempt: the remedies that act for them leave it alone.
type exemptions struct{ lateDialer, cutInit, proxyRace, lostSidecar, deadDNS, serverFirst, meshedWebhook bool }

func exemptionsOf(t *injectors.Target, c *config.Config, now func() time.Time) exemptions {
	if _, asks := t.Meta.Annotations[config.ExemptAnnotation]; !asks {
		return exemptions{}
	}
	return exemptions{
		lateDialer:    c.Exempt(t, "HF101", "late-dialer", now),
		cutInit:       c.Exempt(t, "HF102", "cut-init", now),
		proxyRace:     c.Exempt(t, "HF103", "proxy-race", now),
		lostSidecar:   c.Exempt(t, "HF104", "lost-sidecar", now),
		deadDNS:       c.Exempt(t, "HF106", "dead-dns", now),
		serverFirst:   c.Exempt(t, "HF122", "server-first", now),
		meshedWebhook: c.Exempt(t, "HF143", "meshed-webhook", now),
	}
}

// look finds what there is to put right.
func (d *draft) look() {
	d.late, d.races, d.lost = d.count(d.plan), false, false
	for i := range d.plan.Inits {
		d.lost = d.lost || d.plan.Inits[i].LostSidecar()
	}
	for i := range d.plan.Meshes {
		m := &d.plan.Meshes[i]
		d.races = d.races || m.Native != injectors.Yes && m.Hold != injectors.Yes
	}
	d.races = d.races && !d.exempt.proxyRace
	d.lost = d.lost && !d.exempt.lostSidecar
}

// count returns how many dialers of the plan a remedy should help.
func (d *draft) count(p *injectors.Plan) int {
	n := 0
	for i := range p.Inits {
		if d.needy(p, &p.Inits[i]) {
			n++
		}
	}
	return n
}

// needy tells whether the container cannot reach its destination, and the pod does not ask to be left alone with it.
func (d *draft) needy(p *injectors.Plan, s *injectors.Step) bool {
	_, late, dns := p.Late(s)
	switch {
	case !late && !dns:
		return false
	case s.Declared:
		return !d.exempt.cutInit
	case dns:
		return !d.exempt.deadDNS
	}
	return !d.exempt.lateDialer
}

// maxTried bounds what one pod may ask of the remedies, of which some try a plan for each place of each dialer. Pods that people
// write stay far below it.
const maxTried = 100_000

// try tells whether one more plan may be tried.
func (d *draft) try() bool {
	d.tried += len(d.plan.Inits) + len(d.plan.Mains)
	return d.tried <= maxTried
}

// after returns the plan that the changes would lead to.
func (d *draft) after(changes ...change) *injectors.Plan {
	t := d.plan.Target
	for _, c := range changes {
		t = apply(t, c)
	}
	return injectors.New(t, d.plan.Env, d.horizon)
}

// keep makes the changes part of the outcome; plan is what they lead to.
func (d *draft) keep(plan *injectors.Plan, changes ...change) {
	t := d.plan.Target
	for _, c := range changes {
		if d.when == Foresight && d.name != config.Hold {
			// This will happen to the pods. Their containers are not in the template; their annotations might be.
			if c.annotation != "" {
				t = apply(t, c)
			} else {
				d.imagined = true
			}
			continue
		}
		d.patch.append(t, c)
		t = apply(t, c)
	}
	plan.Target = t
	d.plan = plan
	if !slices.Contains(d.applied, d.name) {
		d.applied = append(d.applied, d.name)
	}
	d.look()
}

// stamp notes on a pod which remedies changed it. Names that an earlier pass noted stay.
func (d *draft) stamp() {
	if d.patch.Empty() || d.plan.Target.Template() {
		return
	}
	before := d.plan.Target.Annotation(AppliedAnnotation)
	names := ""
	for _, r := range config.Remedies() {
		if slices.Contains(d.applied, r) || listed(before, r) {
			if names != "" {
				names += ","
			}
			names += r
		}
	}
	d.patch.append(d.plan.Target, change{annotation: AppliedAnnotation, value: names})
}

// listed tells whether a comma separated list has the entry.
func listed(list, entry string) bool {
	for e := range strings.SplitSeq(list, ",") {
		if e == entry {
			return true
		}
	}
	return false
}

// secondPass tells whether we will see the pod once more, finished, and can cure the dialer at i of the mesh then. The second
// pass sees what every injector did and guesses nothing, so whatever can wait for it does.
func (d *draft) secondPass(i int, m *injectors.Mesh) bool {
	if d.when != Mutating || !d.plan.Coming || !d.plan.Recalled {
		return false
	}
	return m.Late || d.mayReorder() && d.movable(i)
}

// movable tells whether the dialer at i has a place where it is cured.
func (d *draft) movable(i int) bool {
	if _, there := d.nearest(i, toFront); there != nil {
		return true
	}
	_, there := d.nearest(i, toBack)
	return there != nil
}

// mayReorder tells whether the init containers of this pod may be moved at all.
func (d *draft) mayReorder() bool {
	if !d.config.Remedy(config.Reorder) {
		return false
	}
	if len(d.config.KeepOrder) == 0 {
		return true
	}
	kind, group := owner(d.plan.Target)
	return kind == "" || !slices.Contains(d.config.KeepOrder, kind) && !slices.Contains(d.config.KeepOrder, kind+"."+group)
}

// owner returns what controls the pod, or will control the pods of a template.
func owner(t *injectors.Target) (kind, group string) {
	switch t.Kind {
	case "Pod":
		if o := metav1.GetControllerOfNoCopy(t.Meta); o != nil {
			group, _, _ = strings.Cut(o.APIVersion, "/")
			return o.Kind, group
		}
		return "", ""
	case "Deployment":
		return "ReplicaSet", "apps"
	case "CronJob", "Job":
		return "Job", "batch"
	case "ReplicationController":
		return t.Kind, ""
	}
	return t.Kind, "apps"
}

// finished tells whether the init containers lie as they will: nobody who adds any is still to come.
func (d *draft) finished() bool {
	if d.when == Mutating {
		return !d.plan.Coming
	}
	return d.plan.SeenFinished()
}
