package controlplane

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestProcessThatDiesSaysWhy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, script string
		portTaken    bool
	}{
		{"another reason", "echo no such file; exit 3", false},
		{"port taken", "echo bind: address already in use; exit 3", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "log")
			// What an earlier program wrote must not be taken for this one's words.
			startAndWait(t, log, "echo bind: address already in use")
			err := startAndWait(t, log, test.script).Err()
			if err == nil || !strings.Contains(err.Error(), "exit status 3") {
				t.Fatalf("got %v, want the exit status", err)
			}
			if said := strings.TrimPrefix(strings.Split(test.script, ";")[0], "echo "); !strings.Contains(err.Error(), said) {
				t.Errorf("got %v, want what it said: %q", err, said)
			}
			if got := errors.Is(err, errPortTaken); got != test.portTaken {
				t.Errorf("errors.Is(err, errPortTaken) is %v, want %v", got, test.portTaken)
			}
		})
	}
}

func startAndWait(t *testing.T, log, script string) *Process {
	t.Helper()
	p, err := StartProcess(exec.CommandContext(t.Context(), "sh", "-c", script), "script", log)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	return p
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	t.Parallel()
	// The shell ignores the polite signal, and has a child that holds the log open.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `trap "" TERM; sleep 600 & echo "$!"; wait`)
	p, err := StartProcess(cmd, "stubborn", filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := WaitFor(t.Context(), "the child", []*Process{p}, func(context.Context) error {
		if len(p.logTail()) == 0 {
			return errors.New("not started")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	child := string(p.logTail())
	if err := p.Err(); err != nil {
		t.Fatalf("while it runs: got %v, want nil", err)
	}
	p.Stop(10 * time.Millisecond)
	p.Stop(0) // again does nothing
	if p.Err() == nil {
		t.Error("after Stop: got nil, want an error")
	}
	if err := WaitFor(t.Context(), "the child's end", nil, func(ctx context.Context) error {
		return exec.CommandContext(ctx, "sh", "-c", "! kill -0 "+child).Run()
	}); err != nil {
		t.Error(err)
	}
}
