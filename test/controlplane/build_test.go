package controlplane

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// nestedModule writes a module of one program that requires "tiny" in version 1.2.3, which is an empty module beside it.
func nestedModule(t *testing.T, source string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := os.MkdirAll(filepath.Join(dir, "tiny"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"go.mod":      "module nested\n\ngo 1.26.0\n\nrequire tiny v1.2.3\n\nreplace tiny => ./tiny\n",
		"main.go":     source,
		"tiny/go.mod": "module tiny\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBuildOnceForAll(t *testing.T) {
	t.Parallel()
	dir := nestedModule(t, `package main; func main() { println("hello") }`)
	cache := t.TempDir()
	var all sync.WaitGroup
	logs := make([]strings.Builder, 4)
	paths := make([]string, len(logs))
	for i := range logs {
		all.Go(func() {
			b := builder{cache: cache, toolchain: "go", log: &logs[i]}
			if err := b.module(t.Context(), dir, "tiny", []program{{name: "hello", pkg: ".", path: &paths[i]}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	built := 0
	for i := range logs {
		built += strings.Count(logs[i].String(), "built hello")
		if paths[i] != paths[0] {
			t.Errorf("paths differ: got %s and %s", paths[i], paths[0])
		}
	}
	if built != 1 {
		t.Errorf("built %d times, want once", built)
	}
	if got, want := filepath.Base(filepath.Dir(paths[0])), "tiny-1.2.3-"; !strings.HasPrefix(got, want) {
		t.Errorf("folder is %q, want it to begin with %q", got, want)
	}
	if out, err := exec.CommandContext(t.Context(), paths[0]).CombinedOutput(); err != nil || string(out) != "hello\n" {
		t.Errorf("program says %q (%v), want hello", out, err)
	}
}

func TestBuildAgainWhenTheSourceChanges(t *testing.T) {
	t.Parallel()
	b := builder{toolchain: "go"}
	_, one, err := b.identify(nestedModule(t, "package main"), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	_, two, err := b.identify(nestedModule(t, "package main // changed"), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	b.toolchain = "another"
	_, three, err := b.identify(nestedModule(t, "package main"), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	if one == two || one == three {
		t.Errorf("hashes are %s, %s and %s, want three different ones", one, two, three)
	}
}

func TestBuildThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	dir, cache := nestedModule(t, "package main; func main() { undefined() }"), t.TempDir()
	var log strings.Builder
	var path string
	b := builder{cache: cache, toolchain: "go", log: &log}
	err := b.module(t.Context(), dir, "tiny", []program{{name: "hello", pkg: ".", path: &path}})
	if err == nil || !strings.Contains(err.Error(), "undefined: undefined") {
		t.Errorf("got %v, want the compiler's words", err)
	}
	if exists(path) {
		t.Errorf("%s is there, want nothing", path)
	}
}

func TestAssetsMustBeThere(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	_, err := Build(t.Context(), t.Output())
	if err == nil || !strings.Contains(err.Error(), "there is no etcd") {
		t.Errorf("got %v, want that there is no etcd", err)
	}
}
