package main

import (
	"strings"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/report"
)

// probes returns the page of probes.
func probes() string {
	var p page
	p.begin("Probes", "diagnose.Groups()")
	p.paragraph("What Holdfast asks about reachability: whether the API server reaches Holdfast and the injectors in the cluster, hop by hop. " +
		"The titles are statements that are true on a good day. The first probe that fails is the cause; those that would fail because of it are *skipped*. " +
		"*Not applicable* is what is not there (cert-manager, a network policy), *unknown* what nobody could tell: a right is missing, or no answer came in time. " +
		"All answers are there within 15 seconds, whatever hangs.")
	p.paragraph("The server asks at its start and every few minutes, and tells what turns: in its log, in the gauge `holdfast_probes{code,name,state}`, in Events on its Deployment; " +
		"`/diagnosis` on the address of the metrics has the last report as JSON (`?fresh` asks anew). None of it gates readiness. " +
		"`serve --startup-diagnosis=off` asks only when `/diagnosis` is. `holdfast diagnose` asks from anywhere; `holdfast explain CODE` prints a page from here.")
	table := [][]string{{"code", "name", "true on a good day", "needs"}}
	for _, g := range diagnose.Groups() {
		for i := range g.Probes {
			q := &g.Probes[i]
			table = append(table, []string{"[" + q.Code + "](#" + anchor(&q.Topic) + ")", q.Name, q.Title, strings.Join(q.Needs, ", ")})
		}
	}
	p.table(table...)
	for _, g := range diagnose.Groups() {
		for i := range g.Probes {
			probe(&p, &g.Probes[i], g.Title)
		}
	}
	return p.text()
}

func probe(p *page, q *diagnose.Probe, group string) {
	p.heading(title(&q.Topic))
	failure := "Where it does not hold, the probe fails."
	if q.Severity == report.Warning {
		failure = "Where it does not hold, the probe warns."
	}
	who := ""
	if q.Inside {
		who = " Only the server can tell; `holdfast diagnose` reads its report."
	}
	p.paragraph("**" + sentence(upper(q.Title)) + "** " + group + ". " + failure + who)
	p.paragraph(sentence(q.Why))
	p.paragraph("*Fix:* " + sentence(q.Fix))
}

// upper begins with a capital.
func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
