package main

import (
	"io/fs"
	"path"
	"strings"

	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/validators"
)

// rules returns the page of rules, with cases of the repository at root as examples.
func rules(root fs.FS) (string, error) {
	var p page
	p.begin("Rules", "validators.All()")
	p.paragraph("What Holdfast can find wrong with a pod, or with the pod inside a workload. An **error** means that the pod certainly " +
		"never becomes ready: only errors refuse, and only in namespaces in `enforce` mode. Severities can be changed, and rules " +
		"switched off, in the [configuration](configuration.md), by code or by name. What would be an error and rests on something that is not " +
		"known is a warning.")
	p.paragraph("A pod is exempt from the rules (codes or names, comma separated) that its annotation `holdfast.dev/exempt` lists, and from the remedies " +
		"that act for them; `holdfast.dev/exempt-reason` says why and `holdfast.dev/exempt-until: 2027-01-31` until when. Codes are never reused.")

	table := [][]string{{"code", "name", "severity", "what is wrong"}}
	all := validators.Topics()
	for i := range all {
		t := &all[i]
		table = append(table, []string{"[" + t.Code + "](#" + anchor(t) + ")", t.Name, t.Severities(), t.Title})
	}
	p.table(table...)

	for i := range all {
		if err := rule(&p, &all[i], root); err != nil {
			return "", err
		}
	}
	return p.text(), nil
}

func title(t *report.Topic) string { return t.Code + " " + t.Name }

// anchor is the link target that Markdown renderers give to the rule's heading.
func anchor(t *report.Topic) string {
	return strings.ReplaceAll(strings.ToLower(title(t)), " ", "-")
}

func rule(p *page, t *report.Topic, root fs.FS) error {
	p.heading(title(t))
	p.paragraph("**" + sentence(t.Title) + "** Severity: " + t.Severities() + ".")
	p.paragraph(sentence(t.Why))
	p.paragraph("*Fix:* " + sentence(t.Fix))
	p.paragraph("*How to silence it.* " + validators.Silence(t))
	return example(p, root, path.Join("validators", "testdata", t.Name), "Holdfast says:", "fail-example", "fail")
}
