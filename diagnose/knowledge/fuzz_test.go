package knowledge_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"

	"holdfast.dev/holdfast/diagnose/knowledge"
	"holdfast.dev/holdfast/validators"
)

// realTexts returns the examples of all entries.
func realTexts(t testing.TB) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("entries", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, part := range txtar.Parse(data).Files {
			if strings.HasPrefix(part.Name, "example ") {
				all = append(all, string(part.Data))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// FuzzExplain holds that any bytes are explained or not: alike each time, in printable words, and never beyond measure.
func FuzzExplain(f *testing.F) {
	b := base(f)
	f.Add("")
	f.Add("\x00\xff\x1b[31m\u2028")
	f.Add("HF101 HF999 HF1010")
	for _, text := range realTexts(f) {
		f.Add(text)
	}
	topics := validators.Topics()
	f.Fuzz(func(t *testing.T, text string) {
		found := b.Explain(text, topics)
		if again := b.Explain(text, topics); !reflect.DeepEqual(found, again) {
			t.Errorf("got %v, then %v", found, again)
		}
		for i := range found {
			x := &found[i]
			printed := x.String()
			if !utf8.ValidString(printed) {
				t.Errorf("%s: got invalid UTF-8: %q", x.Entry, printed)
			}
			if at := strings.IndexFunc(printed, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }); at >= 0 {
				t.Errorf("%s: got a control character at %d: %q", x.Entry, at, printed)
			}
			if x.Times < 1 || x.Title == "" || x.Cause == "" || x.Remedy == "" {
				t.Errorf("%s: got an empty explanation: %+v", x.Entry, x)
			}
			if utf8.RuneCountInString(x.Text) > 300 {
				t.Errorf("%s: got %d runes of text, want at most 300", x.Entry, utf8.RuneCountInString(x.Text))
			}
		}
	})
}

// BenchmarkExplain explains a text as long as any: of lines that nobody knows, of each real text again and again on one line, and
// of all of them.
func BenchmarkExplain(b *testing.B) {
	kb, texts := base(b), realTexts(b)
	long := func(text string) string { return strings.Repeat(text, knowledge.MaxText/len(text)+1) }
	for name, text := range map[string]string{
		"unknown":  long("2026-11-20T10:00:00Z info nothing to see here, webhook called in 3 ms, status 200\n"),
		"all":      long(strings.Join(texts, "\n")),
		"one line": long(strings.ReplaceAll(strings.Join(texts, " "), "\n", " ")),
		"half":     long(`failed calling webhook "x": failed to call webhook: Post "https://a.b.svc:443/c" `),
		"open":     long(`failed calling webhook "`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(knowledge.MaxText)
			for b.Loop() {
				kb.Explain(text, nil)
			}
		})
	}
}
