package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// watcher is a page's paper. It calls do when a text is on it.
type watcher struct {
	bytes.Buffer
	text string
	do   func()
}

func (w *watcher) Write(data []byte) (int, error) {
	n, err := w.Buffer.Write(data)
	if w.do != nil && bytes.Contains(w.Bytes(), []byte(w.text)) {
		w.do()
		w.do = nil
	}
	return n, err
}

// TestDemo runs the whole demo, left running and then interrupted, as a user does who looks around in its cluster.
func TestDemo(t *testing.T) {
	out, err := interrupted(t, true, "The cluster keeps running")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("the page has colours, and it is no terminal")
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width && !strings.Contains(line, "export ") {
			t.Errorf("%d columns, want %d at most: %s", n, width, line)
		}
	}
	_, summary, _ := strings.Cut(out, "\nSummary ")
	summary, _, _ = strings.Cut(summary, "\n\n")
	var got []string
	for line := range strings.Lines(summary) {
		if fields := strings.Fields(strings.Replace(line, "left alone", "left-alone", 1)); len(fields) > 1 {
			got = append(got, fields[0]+" "+fields[1])
		}
	}
	want := []string{
		"stuck without/web",
		"fixed enforced/web", "fixed enforced-cni/web",
		"refused enforced-cni/dns", "refused enforced-cni/outside", "mended enforced-cni/outside", "refused older/outside",
		"warned warned/web", "audited audited/web",
		"left-alone enforced/alone", "left-alone enforced/native",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("summary (-got +want):\n%s", diff)
	}
}

// TestInterruptedDemo interrupts the demo where it has most to clean up and least time behind it.
func TestInterruptedDemo(t *testing.T) {
	out, err := interrupted(t, false, "deployment.apps/web created")
	if !errors.Is(err, errInterrupted) {
		t.Errorf("got %v, want %v\n%s", err, errInterrupted, out)
	}
}

// interrupted runs the demo until a text is on the page, as Ctrl-C would end it, and fails where anything is left behind.
func interrupted(t *testing.T, keep bool, text string) (string, error) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a control plane")
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &watcher{text: text, do: cancel}
	err := run(ctx, options{out: out, keep: keep})
	for what, found := range map[string][]string{
		"files":              glob(t, filepath.Join(temp, "*")),
		"network namespaces": glob(t, fmt.Sprintf("/run/netns/hfhost-%d-*", os.Getpid())),
		"processes":          children(t),
	} {
		if len(found) > 0 {
			t.Errorf("left behind: %s %v", what, found)
		}
	}
	return out.String(), err
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// children are the processes that this one has started, as /proc/PID/stat tells them: PID (NAME) STATE PARENT.
func children(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, file := range glob(t, "/proc/[0-9]*/stat") {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // gone
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == fmt.Sprint(os.Getpid()) {
			found = append(found, string(data[:min(len(data), 40)]))
		}
	}
	return found
}
