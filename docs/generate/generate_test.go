package main

import (
	"strings"
	"testing"
	"testing/fstest"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/validators"
)

// TestPagesNameEverything: what is in the code is in the documentation, and every link of a table has its heading.
func TestPagesNameEverything(t *testing.T) {
	t.Parallel()
	page, err := rules(fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range validators.Topics() {
		link, heading := "["+topic.Code+"](#"+anchor(&topic)+")", "\n## "+topic.Code+" "+topic.Name+"\n"
		if !strings.Contains(page, link) || !strings.Contains(page, heading) {
			t.Errorf("rules: got no link %q or no heading %q", link, heading)
		}
		for _, want := range []string{"** Severity: " + topic.Severities() + ".\n", "\n*How to silence it.* " + validators.Silence(&topic) + "\n"} {
			if _, rest, _ := strings.Cut(page, heading); !strings.Contains(strings.SplitN(rest, "\n## ", 2)[0], want) {
				t.Errorf("rules: %s: got no %q", topic.Code, want)
			}
		}
	}
	if page, err = remedies(fstest.MapFS{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range mutators.All() {
		link, heading := "["+r.Name+"](#"+r.Name+")", "\n## "+r.Name+"\n"
		if !strings.Contains(page, link) || !strings.Contains(page, heading) {
			t.Errorf("remedies: got no link %q or no heading %q", link, heading)
		}
	}
	page = probes()
	for _, topic := range diagnose.Topics() {
		link, heading := "["+topic.Code+"](#"+anchor(&topic)+")", "\n## "+topic.Code+" "+topic.Name+"\n"
		if !strings.Contains(page, link) || !strings.Contains(page, heading) {
			t.Errorf("probes: got no link %q or no heading %q", link, heading)
		}
	}
	for _, i := range injectors.Builtin() {
		for name := range i.Containers {
			if !strings.Contains(catalogue(), "| `"+name+"` |") {
				t.Errorf("injectors: got no row for container %s", name)
			}
		}
	}
}

func TestExample(t *testing.T) {
	t.Parallel()
	page, err := rules(fstest.MapFS{
		"validators/testdata/late-dialer/pass-a.txtar": {Data: []byte("passes\n-- pod.yaml --\npassing\n-- want --\n")},
		"validators/testdata/late-dialer/fail-b.txtar": {Data: []byte("why b\n-- webhooks.yaml --\nhooks\n-- pod.yaml --\nfirst\n-- want --\nHF101\n")},
		"validators/testdata/late-dialer/fail-c.txtar": {Data: []byte("why c\n-- pod.yaml --\nsecond\n-- want --\nHF101\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "*Example* ([fail-b.txtar](../validators/testdata/late-dialer/fail-b.txtar)). why b\n\n" +
		"```yaml\n# pod.yaml\nfirst\n```\n\nHoldfast says:\n\n```text\nHF101\n```\n"
	if !strings.Contains(page, want) {
		t.Errorf("got no such example:\n%s\nwant in it:\n%s", page, want)
	}
}

func TestTableEscapesBars(t *testing.T) {
	t.Parallel()
	var p page
	p.table([]string{"a", "b"}, []string{"x|y", "z"})
	if got, want := p.text(), "| a | b |\n|---|---|\n| x\\|y | z |\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
