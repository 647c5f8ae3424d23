package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

// TestHostsReachEachOther also with an address that another host had a moment before.
func TestHostsReachEachOther(t *testing.T) {
	needRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	one, err := NewHost(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Close() })
	var addresses []string
	for range 2 {
		other, err := NewHost(ctx, "other")
		if err != nil {
			t.Fatal(err)
		}
		listener, err := other.Listen(ctx, "tcp", ":9443")
		if err != nil {
			t.Fatal(err)
		}
		dial := func() error {
			connection, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", netip.AddrPortFrom(other.Addr(), 9443).String())
			if err == nil {
				connection.Close()
			}
			return err
		}
		if err := dial(); err != nil {
			t.Errorf("from this process: %v", err)
		}
		if err := one.Do(dial); err != nil {
			t.Errorf("from another host: %v", err)
		}
		addresses = append(addresses, other.Addr().String())
		listener.Close()
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("addresses: %v", addresses)
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	if exists(filepath.Join("/sys/class/net", uplink(os.Getpid()))) {
		t.Error("the switch is there without hosts, want it gone")
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
	if out, err := exec.CommandContext(ctx, "ip", "route", "get", host.Addr().String()).CombinedOutput(); err == nil && strings.Contains(string(out), uplink(os.Getpid())) {
		t.Errorf("a route is there: %s", out)
	}
	if err := host.Close(); err != nil {
		t.Errorf("close again: got %v, want nothing to do", err)
	}
}
