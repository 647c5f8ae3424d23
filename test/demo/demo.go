package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// options of a run.
type options struct {
	out    io.Writer
	colour bool
	keep   bool
}

// demo is one run.
type demo struct {
	page
	world
	number, failures int // of scenes
	rows             []row
}

// row of the summary. Without an outcome it takes that of its scene.
type row struct{ outcome, pod, happened string }

// errInterrupted is what run returns where its context ended before the last scene.
var errInterrupted = errors.New("interrupted, and cleaned up")

// run starts everything, plays the scenes, and cleans up, also where ctx ends on the way. Outcomes that are not the announced
// ones are an error.
func run(ctx context.Context, o options) (err error) {
	d := &demo{page: page{out: o.out, colour: o.colour}}
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = errInterrupted
		}
		logs, closed := d.close(err != nil && ctx.Err() == nil)
		if err = errors.Join(err, closed); logs != "" {
			d.line("")
			d.say("Logs are kept in " + logs)
		}
	}()
	d.say(`Holdfast puts pods right that would hang in Init because sidecar injectors get in each other's way, and refuses those that it cannot
		put right. Here it does so on a real control plane with the real istiod. There are no nodes: what is shown is what the API server
		admits.`)
	d.line("")
	if err := d.build(ctx); err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.namespaces(ctx); err != nil {
		return err
	}
	if err := d.play(ctx, before()); err != nil {
		return err
	}
	if err := d.install(ctx); err != nil {
		return err
	}
	if err := d.play(ctx, after()); err != nil {
		return err
	}
	d.summary()
	if d.failures > 0 {
		return fmt.Errorf("outcomes that were not as announced: %d", d.failures)
	}
	if o.keep {
		d.keep(ctx)
	}
	return nil
}

// play plays scenes in order. A scene that comes out wrong is told and counted; the others follow.
func (d *demo) play(ctx context.Context, scenes []scene) error {
	for _, s := range scenes {
		d.number++
		d.heading(fmt.Sprintf("%d  %s: %s", d.number, s.outcome, s.title), s.style)
		if s.text != "" {
			d.say(s.text)
		}
		rows, err := s.play(ctx, d)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			d.failures++
			rows = append(rows, row{pod: "?", happened: "NOT AS ANNOUNCED"})
			d.line("")
			d.line(d.styled("  NOT AS ANNOUNCED:", red))
			d.answer(err.Error())
		}
		for _, r := range rows {
			r.outcome = cmp.Or(r.outcome, s.outcome)
			d.rows = append(d.rows, r)
		}
	}
	return nil
}

func (d *demo) summary() {
	d.heading("Summary", bold)
	for _, r := range d.rows {
		d.line(fmt.Sprintf("  %-12s%-24s%s", r.outcome, r.pod, r.happened))
	}
}

// keep says how to use the cluster, and waits.
func (d *demo) keep(ctx context.Context) {
	d.heading("The cluster keeps running until Ctrl-C", bold)
	d.say("In another terminal:")
	d.line("")
	for _, l := range []string{
		"export KUBECONFIG=" + d.cluster.Kubeconfig(),
		"",
		"kubectl get deployments,pods -A",
		"kubectl -n enforced get pod -l app=web -o yaml",
		"kubectl get mutatingwebhookconfigurations",
		"kubectl label namespace audited holdfast.dev/mode=enforce --overwrite",
		"kubectl -n audited replace --force -f " + directory + "pod.yaml",
	} {
		d.line("    " + l)
	}
	d.line("")
	d.say("A kubectl, where there is none: " + d.binaries.Kubectl)
	d.say("Logs: " + strings.Join([]string{d.dir + "/*.log", d.holdfast.LogPath()}, " and ") + "; the API server's audit log is " + filepath.Join(d.dir, "audit.log"))
	<-ctx.Done()
	d.line("")
	d.say("Cleaning up.")
}
