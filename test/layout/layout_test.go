// Package layout holds what the compiler does not: in which direction packages import each other, and that the packages
// which decide do nothing else.
package layout

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast.dev/holdfast/injectors"
)

const module = "holdfast.dev/holdfast"

// ranks are the top folders of the product. A package imports packages of lower ranks, and of its own folder.
func ranks() map[string]int {
	return map[string]int{
		"report":     0,
		"manifests":  0,
		"injectors":  1,
		"config":     2,
		"validators": 3,
		"mutators":   3,
		"diagnose":   4,
		"webhook":    4,
		"cli":        5,
		"":           6, // main.go
	}
}

// aside are folders beside the product: they may import it, it never imports them.
func aside() []string { return []string{"docs", "test"} }

// heart are the packages that decide. They have no I/O, no clock, and know neither manager nor client.
func heart() []string { return []string{"report", "injectors", "config", "validators", "mutators"} }

// listed is what go list says of a package.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

// list runs go list in the root of the module.
func list(t *testing.T, patterns ...string) []listed {
	t.Helper()
	track(t)
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Dir,GoFiles,Imports,Deps"}, patterns...)...)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var packages []listed
	decoder := json.NewDecoder(out)
	for {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(packages) == 0 {
		t.Fatal("go list: got no packages")
	}
	return packages
}

// track looks at every folder and at go.mod, as go list is about to do: what a test looks at itself decides whether its last
// result still holds, what its children look at does not.
func track(t *testing.T) {
	t.Helper()
	root := filepath.Join("..", "..")
	if _, err := os.ReadFile(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// folder returns the top folder of one of our packages, "" for the root; ok is false for other modules' packages.
func folder(importPath string) (top string, ok bool) {
	if importPath == module {
		return "", true
	}
	rest, ok := strings.CutPrefix(importPath, module+"/")
	top, _, _ = strings.Cut(rest, "/")
	return top, ok
}

func heartPackages(t *testing.T) []listed {
	t.Helper()
	var patterns []string
	for _, name := range heart() {
		patterns = append(patterns, "./"+name+"/...")
	}
	return list(t, patterns...)
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	ranks := ranks()
	for _, p := range list(t, "./...") {
		from, _ := folder(p.ImportPath)
		if slices.Contains(aside(), from) {
			continue
		}
		rank, known := ranks[from]
		if !known {
			t.Errorf("folder %s: give it a rank", from)
		}
		for _, imported := range p.Imports {
			to, ours := folder(imported)
			if !ours || to == from {
				continue
			}
			if lower, known := ranks[to]; !known || lower >= rank {
				t.Errorf("%s imports %s: a package imports lower ranks only", p.ImportPath, imported)
			}
		}
	}
}

func TestHeartKnowsNoClient(t *testing.T) {
	t.Parallel()
	for _, p := range heartPackages(t) {
		for _, dep := range p.Deps {
			for _, banned := range [...]string{"sigs.k8s.io/controller-runtime", "k8s.io/client-go", "k8s.io/apiserver"} {
				if dep == banned || strings.HasPrefix(dep, banned+"/") {
					t.Errorf("%s depends on %s", p.ImportPath, dep)
				}
			}
		}
	}
}

func TestHeartHasNoInputOrOutput(t *testing.T) {
	t.Parallel()
	banned := []string{"embed", "log", "log/slog", "math/rand", "math/rand/v2", "net/http", "os", "os/exec", "os/signal", "os/user", "syscall", "unsafe"}
	for _, p := range heartPackages(t) {
		for _, imported := range p.Imports {
			if slices.Contains(banned, imported) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
		for _, use := range uses(t, p) {
			switch {
			case use.pkg == "net" && !slices.Contains([]string{"SplitHostPort", "JoinHostPort"}, use.name):
				t.Errorf("%s: net.%s: the heart only takes addresses apart", use.at, use.name)
			case use.pkg == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, use.name):
				t.Errorf("%s: time.%s: the heart is told the time", use.at, use.name)
			}
		}
	}
}

// TestOpinionsNameNoInjector: facts lie in the catalogue, and rules and remedies ask for facts.
func TestOpinionsNameNoInjector(t *testing.T) {
	t.Parallel()
	var words []string
	for _, i := range injectors.Builtin() {
		words = append(words, i.Name)
	}
	for _, p := range list(t, "./validators", "./mutators") {
		for _, use := range uses(t, p) {
			if use.pkg == module+"/injectors" && slices.ContainsFunc(injectors.Builtin(), func(i *injectors.Injector) bool { return use.name == i.Title }) {
				t.Errorf("%s: injectors.%s: ask the catalogue for facts", use.at, use.name)
			}
		}
		files := parse(t, p)
		for file, syntax := range files.syntax {
			ast.Inspect(syntax, func(n ast.Node) bool {
				literal, ok := n.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					return true
				}
				value, err := strconv.Unquote(literal.Value)
				// Prose may give an example; a word without spaces is compared with something.
				if err != nil || strings.Contains(value, " ") {
					return true
				}
				for _, word := range words {
					if strings.Contains(strings.ToLower(value), word) {
						t.Errorf("%s: %s names an injector", file, literal.Value)
					}
				}
				return true
			})
		}
	}
}

// use is one use of something that a package imports.
type use struct{ pkg, name, at string }

type files struct {
	set    *token.FileSet
	syntax map[string]*ast.File
}

func parse(t *testing.T, p listed) files {
	t.Helper()
	f := files{set: token.NewFileSet(), syntax: map[string]*ast.File{}}
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(f.set, filepath.Join(p.Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.syntax[path.Join(strings.TrimPrefix(p.ImportPath, module+"/"), name)] = file
	}
	return f
}

// uses returns what a package's files use of the packages that they import.
func uses(t *testing.T, p listed) []use {
	t.Helper()
	var all []use
	files := parse(t, p)
	for name, file := range files.syntax {
		imported := map[string]string{}
		for _, spec := range file.Imports {
			pkg, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			local := path.Base(pkg)
			if spec.Name != nil {
				local = spec.Name.Name
			}
			imported[local] = pkg
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if selector, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := selector.X.(*ast.Ident); ok && imported[x.Name] != "" {
					at := name + ":" + strconv.Itoa(files.set.Position(x.Pos()).Line)
					all = append(all, use{imported[x.Name], selector.Sel.Name, at})
				}
			}
			return true
		})
	}
	return all
}
