package diagnose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Limits of a run. The report is there within 15 seconds, whatever hangs.
const (
	whole = 14 * time.Second
	usual = 5 * time.Second
)

// apiServerCode is the probe before whose end no group looks for its objects.
const apiServerCode = "HF204"

var errNoAnswer = errors.New("no answer in time")

// Run asks all probes, each as soon as those that it needs have ended, and returns within 15 seconds of when whoever asks began.
// The subject is not changed.
func Run(ctx context.Context, s *Subject) *Report {
	groups := slices.DeleteFunc(Groups(), func(g Group) bool { return g.Name == connectGroup && len(s.Connect) == 0 })
	return run(ctx, s, groups, limit(s.Spent))
}

// limit is what is left of the time where some was spent before.
func limit(spent time.Duration) time.Duration { return max(whole-spent, usual) }

func run(ctx context.Context, s *Subject, groups []Group, most time.Duration) *Report {
	began := s.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, most, errNoAnswer)
	defer cancel()
	subject := *s
	subject.seen = newSeen(ctx)
	r := &runner{subject: &subject, deadline: began.Add(most)}

	sections := make([]*section, len(groups))
	var ours []*job
	for i := range groups {
		sections[i] = &section{group: &groups[i]}
		if groups[i].About == nil {
			sections[i].jobs = r.jobs(&groups[i], &subject, nil)
			ours = append(ours, sections[i].jobs...)
		}
	}
	// Needs may point to any of our own groups, so that all jobs are there before one starts.
	for _, j := range ours {
		j.needs, j.after = needs(j, ours), answering(j.probe.After, ours)
	}
	var all sync.WaitGroup
	for _, section := range sections {
		if section.group.About != nil {
			all.Go(func() { r.expand(ctx, section, ours) })
		}
	}
	for _, j := range ours {
		all.Go(func() { r.ask(ctx, j) })
	}
	all.Wait()

	out := &Report{Began: began, Seconds: s.Now().Sub(began).Seconds()}
	if s.Server != nil {
		out.Replica, out.Port = s.Server.Replica, s.Own.Port
		if chain, err := subject.served(ctx); err == nil {
			out.Certificate = encodeChain(chain)
		}
	}
	for _, section := range sections {
		for _, j := range section.jobs {
			out.Probes = append(out.Probes, j.line)
		}
	}
	out.count()
	return out
}

type runner struct {
	subject  *Subject
	deadline time.Time
}

// section is a group with the jobs that came of it.
type section struct {
	group *Group
	jobs  []*job
}

// job is one probe about one object. Its line is complete when done is closed.
type job struct {
	probe   *Probe
	subject *Subject
	needs   []*job
	after   []*job
	done    chan struct{}
	line    Line
}

func (r *runner) jobs(g *Group, s *Subject, about *Object) []*job {
	var jobs []*job
	for i := range g.Probes {
		p := &g.Probes[i]
		j := &job{probe: p, subject: s, done: make(chan struct{})}
		j.line = Line{Code: p.Code, Name: p.Name, Group: g.Name, Heading: g.Title, Title: p.Title}
		if about != nil {
			j.line.Object = about.Name
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// needs finds what has to hold before a job is asked.
func needs(j *job, among []*job) []*job {
	codes := j.probe.Needs
	if j.probe.Inside && j.subject.Server == nil {
		switch { // somebody has to be there to answer
		case j.probe.Code != listenerCode:
			codes = append([]string{listenerCode}, codes...)
		case j.subject.ThroughAPI:
			codes = []string{apiServerCode}
		}
	}
	return answering(codes, among)
}

// answering finds the first job of each code among the candidates.
func answering(codes []string, among []*job) []*job {
	var out []*job
	for _, code := range codes {
		if at := slices.IndexFunc(among, func(j *job) bool { return j.probe.Code == code }); at >= 0 {
			out = append(out, among[at])
		}
	}
	return out
}

// expand finds the objects of a group, and asks its probes about each.
func (r *runner) expand(ctx context.Context, section *section, ours []*job) {
	g := section.group
	for _, j := range ours {
		if j.probe.Code != apiServerCode || g.Name == connectGroup {
			continue
		}
		<-j.done
		if cause := j.line.cause(); cause != "" {
			section.jobs = r.jobs(g, r.subject, nil)
			for _, j := range section.jobs {
				j.line.skip(cause)
			}
			return
		}
	}
	objects, err := r.look(ctx, g)
	if err != nil || len(objects) == 0 {
		section.jobs = r.jobs(g, r.subject, nil)
		answer := notApplicable("there is nothing to ask about")
		if err != nil {
			answer = cannot(err)
		}
		for _, j := range section.jobs {
			j.line.take(answer)
		}
		return
	}
	var all sync.WaitGroup
	for _, o := range objects {
		jobs := r.jobs(g, r.subject.about(o), o)
		for _, j := range jobs {
			candidates := append(slices.Clip(jobs), ours...)
			j.needs, j.after = needs(j, candidates), answering(j.probe.After, candidates)
			all.Go(func() { r.ask(ctx, j) })
		}
		section.jobs = append(section.jobs, jobs...)
	}
	all.Wait()
}

// look finds the objects of a group, and gives up on that in time.
func (r *runner) look(ctx context.Context, g *Group) ([]*Object, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, usual, errNoAnswer)
	defer cancel()
	type found struct {
		objects []*Object
		err     error
	}
	done := make(chan found, 1)
	go func() {
		defer func() {
			if fault := recover(); fault != nil {
				done <- found{err: fmt.Errorf("the probe itself broke: %T", fault)}
			}
		}()
		objects, err := g.About(ctx, r.subject)
		done <- found{objects, err}
	}()
	select {
	case f := <-done:
		return f.objects, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer within %s", round(usual))
	}
}

// ask waits for what the job needs, then puts the question, and gives up on it in time.
func (r *runner) ask(ctx context.Context, j *job) {
	defer close(j.done)
	for _, n := range j.needs {
		<-n.done
		if cause := n.line.cause(); cause != "" {
			j.line.skip(cause)
			return
		}
	}
	subject := *j.subject
	subject.needed = map[string]*Line{}
	for _, n := range append(slices.Clip(j.needs), j.after...) {
		<-n.done
		subject.needed[n.probe.Code] = &n.line
	}
	patience := j.probe.Patience
	if patience == 0 {
		patience = usual
	}
	began := r.subject.Now()
	if patience = min(patience, r.deadline.Sub(began)); patience <= 0 {
		j.line.take(unknown("", "the time for the report was over before this could be asked"))
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errNoAnswer)
	defer cancel()
	answered := make(chan Result, 1)
	go func() {
		defer func() {
			if fault := recover(); fault != nil {
				answered <- unknown("", "the probe itself broke: %T", fault)
			}
		}()
		answered <- j.probe.answer(ctx, &subject)
	}()
	select {
	case answer := <-answered:
		j.line.take(answer)
		if answer.State == Unknown && ctx.Err() != nil { // its own words for that say less
			j.line.take(late(patience))
		}
	case <-ctx.Done():
		j.line.take(late(patience))
	}
	j.line.Seconds = r.subject.Now().Sub(began).Seconds()
}

// answer puts the question, to the server where only it can tell, or where it may look and whoever asks may not.
func (p *Probe) answer(ctx context.Context, s *Subject) Result {
	var r Result
	switch {
	case s.Server == nil && p.Inside:
		r = s.fromServer(ctx, p)
	default:
		if r = p.ask(ctx, s); r.denied && s.Server == nil && s.About == nil {
			r = s.elsewise(ctx, p, r)
		}
	}
	return p.weighed(ctx, s, r)
}

// weighed adds to a failure what it means for pods.
func (p *Probe) weighed(ctx context.Context, s *Subject, r Result) Result {
	if r.State == Failed && r.Effect == "" && s.About == nil {
		r.Effect = s.effect(ctx, p.harm)
	}
	return r
}

func late(patience time.Duration) Result {
	return unknown("", "no answer within %s", round(patience))
}

func round(d time.Duration) string {
	return fmt.Sprintf("%d s", max(1, int(d.Round(time.Second)/time.Second)))
}
