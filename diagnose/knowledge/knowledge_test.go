package knowledge_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"holdfast.dev/holdfast/diagnose/knowledge"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/validators"
)

var update = flag.Bool("update", false, "rewrite what is said about the examples, and the copies of cases in examples/")

func base(t testing.TB) *knowledge.Base {
	t.Helper()
	b, err := knowledge.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func said(found []knowledge.Explanation) string {
	var b strings.Builder
	for i := range found {
		b.WriteString(found[i].String())
	}
	return b.String()
}

// TestEntries explains every example of every entry. The entry must be among those that explain it, and want holds all that is said.
func TestEntries(t *testing.T) {
	t.Parallel()
	b := base(t)
	err := filepath.WalkDir("entries", func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Run(strings.TrimSuffix(filepath.ToSlash(file), ".txtar"), func(t *testing.T) { checkEntry(t, b, file) })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkEntry(t *testing.T, b *knowledge.Base, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	archive := txtar.Parse(data)
	if len(bytes.TrimSpace(archive.Comment)) == 0 {
		t.Error("got nothing before the first part, want where the facts come from")
	}
	name := strings.TrimSuffix(filepath.Base(file), ".txtar")
	examples := 0
	for i := range archive.Files {
		part := &archive.Files[i]
		source, isExample := strings.CutPrefix(part.Name, "example ")
		switch {
		case isExample:
			examples++
			if i+1 == len(archive.Files) || archive.Files[i+1].Name != "want" {
				t.Fatalf("example %s: got no part want behind it", source)
			}
			found := b.Explain(string(part.Data), nil)
			if !slices.ContainsFunc(found, func(x knowledge.Explanation) bool { return x.Entry == name }) {
				t.Errorf("example %s: got %v, want %s to explain it", source, names(found), name)
			}
			want, got := &archive.Files[i+1], said(found)
			if *update {
				want.Data = []byte(got)
			} else if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("example %s (-want +got):\n%s", source, diff)
			}
		case part.Name == "want" && i > 0 && strings.HasPrefix(archive.Files[i-1].Name, "example "), part.Name == "entry.yaml" && i == 0:
		default:
			t.Errorf("got a part %q, want entry.yaml first, then examples and wants by turns", part.Name)
		}
	}
	if examples == 0 {
		t.Error("got no example, want a real text")
	}
	if *update && !t.Failed() {
		write(t, file, txtar.Format(archive))
	}
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("-update: got CI set; what is wanted is rewritten by people")
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func names(found []knowledge.Explanation) []string {
	var all []string
	for i := range found {
		all = append(all, found[i].Entry)
	}
	return all
}

// TestTexts holds the entries' form: titles are a line, texts are sentences, commands are filled in where they can be.
func TestTexts(t *testing.T) {
	t.Parallel()
	for _, e := range base(t).Entries() {
		if strings.Contains(e.Title, "\n") || strings.HasSuffix(e.Title, ".") {
			t.Errorf("%s: got title %q, want one line without a full stop", e.Name, e.Title)
		}
		if !strings.HasSuffix(e.Remedy, ".") {
			t.Errorf("%s: got remedy %q, want whole sentences", e.Name, e.Remedy)
		}
		for _, code := range e.Codes {
			if len(code) != 5 || !strings.HasPrefix(code, "HF") {
				t.Errorf("%s: got code %q, want HFnnn", e.Name, code)
			}
		}
	}
}

// TestNext holds that what comes next is a sentence or a command that any shell takes as it stands, wherever names are filled in.
func TestNext(t *testing.T) {
	t.Parallel()
	b := base(t)
	programs := "kubectl gcloud aws az istioctl holdfast curl date chronyc firewall-cmd test"
	sentence, assigned := regexp.MustCompile(`^[A-Z].*[.:]$`), regexp.MustCompile(`^[A-Z_]+=\$\(.+\)$`)
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	seen := map[string]bool{}
	check := func(x *knowledge.Explanation) {
		for _, line := range x.Next {
			if seen[line] {
				continue
			}
			seen[line] = true
			first, _, _ := strings.Cut(line, " ")
			command := assigned.MatchString(line) || slices.Contains(strings.Fields(programs), first)
			if command == (sentence.MatchString(line) && !assigned.MatchString(line)) {
				t.Errorf("%s: got %q, want a sentence or a command", x.Entry, line)
			}
			if !command {
				continue
			}
			for _, words := range []string{" # ", "; ", "<<<"} {
				if strings.Contains(line, words) {
					t.Errorf("%s: got %q, which does not paste into every shell", x.Entry, line)
				}
			}
			if out, err := exec.CommandContext(t.Context(), shell, "-n", "-c", line).CombinedOutput(); err != nil {
				t.Errorf("%s: %q: %s", x.Entry, line, out)
			}
		}
	}
	for _, e := range b.Entries() {
		about, _ := b.About(e.Name)
		check(&about)
	}
	for _, text := range realTexts(t) {
		for _, x := range b.Explain(text, nil) {
			check(&x)
		}
	}
}

// TestExamples holds that the copies of cases are those that docs/rules.md shows.
func TestExamples(t *testing.T) {
	t.Parallel()
	codes := map[string]bool{}
	for _, topic := range validators.Topics() {
		codes[topic.Code+".txtar"] = true
		file := shown(t, topic.Name)
		if file == "" {
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		duplicate := filepath.Join("examples", topic.Code+".txtar")
		if *update {
			write(t, duplicate, want)
		}
		if got, err := os.ReadFile(duplicate); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got another example than %s (%v): go test ./diagnose/knowledge -update", topic.Code, file, err)
		}
	}
	entries, err := os.ReadDir("examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !codes[e.Name()] {
			t.Errorf("examples/%s: got an example of no rule", e.Name())
		}
	}
}

// shown returns the case that shows a rule: one called example, else the first that fails.
func shown(t *testing.T, rule string) string {
	t.Helper()
	for _, pattern := range []string{"fail-example*.txtar", "fail-*.txtar"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "validators", "testdata", rule, pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) > 0 {
			return files[0]
		}
	}
	return ""
}

func TestPage(t *testing.T) {
	t.Parallel()
	topics := []report.Topic{{Code: "HF999", Name: "no-such-rule", Severity: report.Warning, Title: "A title", Why: "A cause.", Fix: "A remedy."}}
	for _, key := range []string{"HF999", "hf999", "no-such-rule"} {
		topic, ok := knowledge.Find(topics, key)
		if !ok {
			t.Fatalf("%s: got nothing", key)
		}
		const want = "HF999 no-such-rule (warning): A title\n\n  why   A cause.\n  fix   A remedy.\n  mute  Say so.\n"
		if diff := cmp.Diff(want, knowledge.NewPage(topic, "Say so.").String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	if _, ok := knowledge.Find(topics, "HF99"); ok {
		t.Error("got a topic for half a code")
	}
	page := knowledge.NewPage(&validators.Topics()[0], "").String()
	for _, text := range []string{"\nExample: ", "vault-agent-init", "\nHoldfast says:\n\n  error HF101 "} {
		if !strings.Contains(page, text) {
			t.Errorf("got no %q in the page:\n%s", text, page)
		}
	}
}

// TestLoadRefuses holds that mistakes in the data are found when it is loaded.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	const rest = "cause: c\nremedy: r\nnext: [n]\nsource: s\n"
	for name, c := range map[string]struct{ entry, want string }{
		"unknown field":        {"title: t\nmatch: [m]\ntitel: t\n" + rest, `unknown field "titel"`},
		"field twice":          {"title: t\ntitle: t\nmatch: [m]\n" + rest, `already set`},
		"nothing to match":     {"title: t\n" + rest, "are required"},
		"broken pattern":       {"title: t\nmatch: ['a(']\n" + rest, "missing closing"},
		"no such pattern":      {"title: t\nmatch: ['<b>c']\n" + rest, "no pattern is called <b>"},
		"pattern in itself":    {"title: t\nmatch: ['<loop>']\n" + rest, "more than 100"},
		"no such group":        {"title: '{{b}}'\nmatch: ['(?P<a>x)']\n" + rest, "{{b}}: no pattern has a group of that name"},
		"placeholder not one":  {"title: '{{ a }}'\nmatch: ['(?P<a>x)']\n" + rest, "a placeholder that is none"},
		"no entry in the file": {"", "no part entry.yaml"},
	} {
		data := "-- entry.yaml --\n" + c.entry
		if c.entry == "" {
			data = "text\n"
		}
		_, err := knowledge.Load(fstest.MapFS{
			"servers.yaml": {Data: []byte("[]")}, "patterns.yaml": {Data: []byte("loop: <loop>")}, "entries/x.txtar": {Data: []byte(data)},
		})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "entries/x.txtar") {
			t.Errorf("%s: got %v, want %q and the file's name", name, err, c.want)
		}
	}
	good := []byte("-- entry.yaml --\ntitle: t\nmatch: [m]\n" + rest)
	_, err := knowledge.Load(fstest.MapFS{
		"servers.yaml": {Data: []byte("[]")}, "patterns.yaml": {Data: []byte("{}")}, path.Join("entries", "a", "x.txtar"): {Data: good}, path.Join("entries", "b", "x.txtar"): {Data: good},
	})
	if err == nil || !strings.Contains(err.Error(), `two entries are called "x"`) {
		t.Errorf("two of a name: got %v", err)
	}
}
