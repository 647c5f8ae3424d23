package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/report"
)

// TestReadmeQuotesRefusal: the refusal that the README shows is what the case that it describes says.
func TestReadmeQuotesRefusal(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := txtar.ParseFile("../../validators/testdata/late-dialer/fail-external-host.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range example.Files {
		if f.Name != "want" {
			continue
		}
		// The first finding takes two lines: what is wrong, behind its place, and what to do.
		lines := strings.SplitN(string(f.Data), "\n", 3)
		_, message, found := strings.Cut(lines[0], "]: ")
		if !found {
			t.Fatalf("got %q, want a finding about a container", lines[0])
		}
		if want := oneLine(message + " " + lines[1]); !strings.Contains(oneLine(string(readme)), want) {
			t.Errorf("README.md: got no such refusal, want %s", want)
		}
		return
	}
	t.Error("got a case without findings")
}

// TestReadmeQuotesDiagnosis: what the README shows of a diagnosis, cut at the dots, is what the case of that firewall says, below the titles
// of the probes.
func TestReadmeQuotesDiagnosis(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile("../../diagnose/testdata/reached/fail-timeout-gke.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## When the API server cannot reach it\n")
	_, block, found := strings.Cut(section, "\n```\n\u221a HF214 ")
	if !found {
		t.Fatal("README.md: got no report that begins with HF214")
	}
	block, _, _ = strings.Cut("\u221a HF214 "+block, "\n```\n")
	for line := range strings.Lines(block) {
		if !strings.HasPrefix(line, "    ") {
			code := strings.Fields(line)[1]
			if !slices.ContainsFunc(diagnose.Topics(), func(p report.Topic) bool { return p.Code == code && strings.Contains(line, code+" "+p.Title) }) {
				t.Errorf("README.md: got %q, want the title of %s", line, code)
			}
			continue
		}
		for part := range strings.SplitSeq(line, "...") {
			if part = oneLine(part); !strings.Contains(oneLine(string(said)), part) {
				t.Errorf("README.md: got %q, which the case does not say", part)
			}
		}
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
