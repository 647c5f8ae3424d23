package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeAptGet puts an apt-get first in the path that notes how it is called, and fails to install until lists are updated
// where fresh is false.
func fakeAptGet(t *testing.T, fresh bool) (calls func() []string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncd " + dir + "\necho \"$DEBIAN_FRONTEND $*\" >>calls\n" +
		"case \"$*\" in *update*) : >fresh ;; *) test -e fresh ;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "apt-get"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if fresh {
		if err := os.WriteFile(filepath.Join(dir, "fresh"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() []string {
		data, err := os.ReadFile(filepath.Join(dir, "calls"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
}

func TestInstall(t *testing.T) {
	const install = "noninteractive -q install -y --no-install-recommends iproute2 iptables"
	for name, c := range map[string]struct {
		fresh bool
		want  []string
	}{
		"package lists are fresh": {true, []string{install}},
		"package lists are old":   {false, []string{install, "noninteractive -q update", install}},
	} {
		t.Run(name, func(t *testing.T) {
			calls := fakeAptGet(t, c.fresh)
			if err := aptInstall(t.Context(), io.Discard, []string{"iproute2", "iptables"}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(calls(), c.want); diff != "" {
				t.Errorf("calls of apt-get (-got +want):\n%s", diff)
			}
		})
	}
}

// TestExplain: what is missing is named, with a line for the package manager that is here.
func TestExplain(t *testing.T) {
	fakeAptGet(t, true)
	want := "missing:\n  a C compiler with headers, for the race detector\n  iptables, which redirects traffic as a mesh does\n" +
		"run (with sudo unless you are root):\n  apt-get install -y gcc libc6-dev iptables\n"
	all := needs()
	if diff := cmp.Diff(explain([]need{all[0], all[2]}), want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}

	t.Setenv("PATH", t.TempDir())
	got := explain(all[1:2])
	for _, line := range []string{"apt-get install -y iproute2\n", "dnf install -y iproute\n", "apk add iproute2\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("got %q, want the line %q in it", got, line)
		}
	}
}

func TestNoCompiler(t *testing.T) {
	t.Setenv("CC", "no-such-compiler")
	if !noCompiler(t.Context()) {
		t.Error("got a compiler where there is none")
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	if _, err := choose([]string{"cc", "rustc"}); err == nil {
		t.Error("got no error for a name that is not known")
	}
	chosen, err := choose([]string{"cc"})
	if err != nil || len(chosen) != 1 || chosen[0].name != "cc" {
		t.Errorf("got %v, %v, want cc", chosen, err)
	}
}
