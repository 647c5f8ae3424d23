package controlplane

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// needRoot skips where there can be no hosts, except in CI, which must have them.
func needRoot(t *testing.T) {
	t.Helper()
	if err := Root(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func TestHostsOfDeadProcessesAreRemoved(t *testing.T) {
	needRoot(t)
	ctx := t.Context()
	// A process with this number may be there, but it has not started at tick 1.
	stale := fmt.Sprintf("%s-%d-1-1-stale", netnsPrefix, os.Getppid())
	if err := ip(ctx, "netns", "add", stale); err != nil {
		t.Fatal(err)
	}
	first, err := NewHost(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Close() })
	second, err := NewHost(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })

	if exists(filepath.Join(netnsDir, stale)) {
		t.Errorf("namespace %s is there, want it removed", stale)
	}
	if !exists(filepath.Join(netnsDir, first.Namespace())) {
		t.Errorf("namespace %s is gone, want it kept: its process lives", first.Namespace())
	}
	if first.Addr() == second.Addr() {
		t.Errorf("both hosts have the address %s, want two", first.Addr())
	}
}

func TestHostIsApartAndGoes(t *testing.T) {
	needRoot(t)
	ctx := t.Context()
	host, err := NewHost(ctx, "lonely")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })

	listener, err := host.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String()); err == nil {
		connection.Close()
		t.Error("loopback of the host is reached from outside, want it apart")
	}
	out, err := host.Command(ctx, "ip", "route", "get", "203.0.113.1").CombinedOutput()
	if err != nil {
		t.Fatalf("ip route: %v: %s", err, out)
	}
	process, err := StartProcess(host.Command(ctx, "sleep", "600"), "sleep", filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer process.Stop(0)
	if err := host.Close(); err != nil {
		t.Errorf("close while something runs inside: %v", err)
	}
	if out, err := exec.CommandContext(ctx, "ip", "link", "show", host.link).CombinedOutput(); err == nil {
		t.Errorf("link is there: %s", out)
	}
	if err := host.Close(); err != nil {
		t.Errorf("close again: got %v, want nothing to do", err)
	}
}
