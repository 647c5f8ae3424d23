// Package knowledge is what Holdfast knows about other programs' error texts: what they mean and what to do. It does no I/O
// but read the files that are compiled into it.
//
// What it knows is data: one entry a file in entries/, found by walking. A file is a txtar archive. The text before the first
// part says where the facts come from; the parts are
//
//	entry.yaml      the entry: see Entry
//	example SOURCE  a real text that the entry explains, and where it was seen; at least one
//	want            what is said about the example above it, rewritten by -update
//
// A pattern is a regular expression (RE2) in which a space stands for any white space and <name> for the pattern of that name
// in patterns.yaml. Texts may hold {{name}} for what the group of that name found, or what follows from it (see values.go);
// where nothing was found, the name in capitals stands for it, or what follows a bar: {{webhook|a webhook}}.
package knowledge

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"
)

//go:embed entries patterns.yaml servers.yaml
var files embed.FS

// Entry is one thing that an error text can mean. Its name is its file's.
type Entry struct {
	Name string `json:"-"`

	Title  string   `json:"title"`  // one line: what is wrong
	Match  []string `json:"match"`  // patterns, any of which is enough
	Cause  string   `json:"cause"`  // how it comes about
	Remedy string   `json:"remedy"` // what to do
	Next   []string `json:"next"`   // commands, what to see first: each alone, as a shell takes it, or a sentence on those below
	Source string   `json:"source"` // project, file and release, or document

	// Codes of rules that say more. Whoever prints the entry knows which of them there are.
	Codes []string `json:"codes,omitempty"`

	// Once is for states that many things are in at the same time: the first is explained, the others are counted.
	Once bool `json:"once,omitempty"`

	// General entries say what holds for many texts. They are silent where another entry knows more about the same text.
	General bool `json:"general,omitempty"`

	patterns []pattern
}

// Base is all that is known. It does not change once it is loaded, and may be used by many at once.
type Base struct {
	entries []Entry // by name
	servers []server
}

// Builtin returns what is compiled into the program. It is loaded once.
func Builtin() (*Base, error) { return builtin() }

//nolint:gochecknoglobals // a function, set once and for all
var builtin = sync.OnceValues(func() (*Base, error) { return Load(files) })

// Load reads a base: patterns.yaml, servers.yaml and all files in entries.
func Load(root fs.FS) (*Base, error) {
	var b Base
	if err := read(root, "servers.yaml", &b.servers); err != nil {
		return nil, err
	}
	for i := range b.servers {
		if err := b.servers[i].compile(); err != nil {
			return nil, fmt.Errorf("servers.yaml: %w", err)
		}
	}
	var named map[string]string
	if err := read(root, "patterns.yaml", &named); err != nil {
		return nil, err
	}
	err := fs.WalkDir(root, "entries", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		e, err := load(root, file, named)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		b.entries = append(b.entries, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the knowledge base: %w", err)
	}
	slices.SortFunc(b.entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	for i := range b.entries[:max(len(b.entries)-1, 0)] {
		if b.entries[i].Name == b.entries[i+1].Name {
			return nil, fmt.Errorf("load the knowledge base: two entries are called %q", b.entries[i].Name)
		}
	}
	return &b, nil
}

// Entries returns all entries, by name.
func (b *Base) Entries() []Entry { return slices.Clone(b.entries) }

func read(root fs.FS, file string, into any) error {
	data, err := fs.ReadFile(root, file)
	if err != nil {
		return fmt.Errorf("load the knowledge base: %w", err)
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		return fmt.Errorf("load the knowledge base: %s: %w", file, err)
	}
	return nil
}

func load(root fs.FS, file string, named map[string]string) (Entry, error) {
	data, err := fs.ReadFile(root, file)
	if err != nil {
		return Entry{}, err
	}
	name, isEntry := strings.CutSuffix(path.Base(file), ".txtar")
	if !isEntry {
		return Entry{}, errors.New("not a txtar file")
	}
	e := Entry{Name: name}
	archive := txtar.Parse(data)
	for _, part := range archive.Files {
		if part.Name != "entry.yaml" {
			continue
		}
		if err := yaml.UnmarshalStrict(part.Data, &e); err != nil {
			return Entry{}, err
		}
		return e, e.compile(named)
	}
	return Entry{}, errors.New("no part entry.yaml")
}

// compile makes the entry's patterns, and holds that its texts can be filled in.
func (e *Entry) compile(named map[string]string) error {
	if e.Title == "" || e.Cause == "" || e.Remedy == "" || e.Source == "" || len(e.Match) == 0 || len(e.Next) == 0 {
		return errors.New("title, match, cause, remedy, next and source are required")
	}
	groups := map[string]bool{}
	for _, text := range e.Match {
		p, err := compile(text, named)
		if err != nil {
			return fmt.Errorf("pattern %q: %w", text, err)
		}
		e.patterns = append(e.patterns, p)
		for _, group := range p.SubexpNames() {
			groups[group] = true
		}
	}
	derive(groups)
	for _, text := range append([]string{e.Title, e.Cause, e.Remedy}, e.Next...) {
		for _, found := range placeholders.FindAllStringSubmatch(text, -1) {
			if !groups[found[1]] {
				return fmt.Errorf("placeholder {{%s}}: no pattern has a group of that name", found[1])
			}
		}
		if rest := placeholders.ReplaceAllLiteralString(text, ""); strings.Contains(rest, "{{") {
			return fmt.Errorf("text %q: a placeholder that is none", text)
		}
	}
	return nil
}

var placeholders = regexp.MustCompile(`\{\{([a-z]+)(?:\|([^{}]*))?\}\}`)
