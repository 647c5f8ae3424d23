package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"

	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/validators"
)

// rules returns the page of rules. testdata holds their cases, a folder each.
func rules(testdata fs.FS) (string, error) {
	var p page
	p.begin("Rules", "validators.All()")
	p.paragraph("What Holdfast can find wrong with a pod, or with the pod inside a workload. An **error** means that the pod certainly " +
		"never becomes ready: only errors refuse, and only in namespaces in `enforce` mode. Severities can be changed, and rules " +
		"switched off, in the [configuration](configuration.md), by code or by name.")
	p.paragraph("A pod is exempt from the rules (codes or names, comma separated) that its annotation `holdfast.dev/exempt` lists, and from the remedies " +
		"that act for them; `holdfast.dev/exempt-reason` says why and `holdfast.dev/exempt-until: 2027-01-31` until when. Codes are never reused.")

	table := [][]string{{"code", "name", "severity", "what is wrong"}}
	all := validators.Topics()
	for i := range all {
		t := &all[i]
		table = append(table, []string{"[" + t.Code + "](#" + anchor(t) + ")", t.Name, t.Severity.String(), t.Title})
	}
	p.table(table...)

	for i := range all {
		if err := rule(&p, &all[i], testdata); err != nil {
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

func rule(p *page, t *report.Topic, testdata fs.FS) error {
	p.heading(title(t))
	p.paragraph("**" + sentence(t.Title) + "** Severity: " + t.Severity.String() + ".")
	p.paragraph(sentence(t.Why))
	p.paragraph("*Fix:* " + sentence(t.Fix))
	name, example, err := firstFailing(testdata, t.Name)
	if err != nil || example == nil {
		return err
	}
	p.paragraph("*Example* ([" + name + "](../validators/testdata/" + t.Name + "/" + name + ")). " + strings.TrimSpace(string(example.Comment)))
	for _, f := range example.Files {
		switch {
		case f.Name == "want":
			p.paragraph("Holdfast says:")
			p.block("text", string(f.Data))
		case path.Ext(f.Name) == ".yaml" && f.Name != "webhooks.yaml":
			p.block("yaml", "# "+f.Name+"\n"+string(f.Data))
		}
	}
	return nil
}

// firstFailing returns the first case of a rule in which it finds something, nil where there is none yet.
func firstFailing(testdata fs.FS, rule string) (name string, example *txtar.Archive, err error) {
	entries, err := fs.ReadDir(testdata, rule)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("find an example of %s: %w", rule, err)
	}
	for _, e := range entries {
		if ok, _ := path.Match("fail-*.txtar", e.Name()); !ok {
			continue
		}
		data, err := fs.ReadFile(testdata, path.Join(rule, e.Name()))
		if err != nil {
			return "", nil, fmt.Errorf("read an example of %s: %w", rule, err)
		}
		return e.Name(), txtar.Parse(data), nil
	}
	return "", nil, nil
}
