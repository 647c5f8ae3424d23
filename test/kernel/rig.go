//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Rig plays pods. It is safe for concurrent use: each play has its own namespaces.
type Rig struct {
	agent      *os.File // Executed through its descriptor: a container's user may not be allowed to walk the path to it.
	dir        string
	resolvConf string
}

// Destination is where a container connects to: any IPv4 address outside the pod.
type Destination struct {
	Addr netip.Addr
	Port uint16
	// UDP asks for one datagram and its answer instead of a connection.
	UDP bool
}

// String returns the destination as network, address and port, for example "tcp 10.96.7.7:8200".
func (d Destination) String() string { return d.network() + " " + d.addrPort().String() }

func (d Destination) network() string {
	if d.UDP {
		return "udp"
	}
	return "tcp"
}

func (d Destination) addrPort() netip.AddrPort { return netip.AddrPortFrom(d.Addr, d.Port) }

// Nameserver is the only name server in the pod's resolv.conf. A container that is refused there cannot resolve names.
func Nameserver() Destination {
	return Destination{Addr: netip.AddrFrom4([4]byte{10, 96, 0, 10}), Port: 53, UDP: true}
}

// Verdict is what became of an attempt to connect.
type Verdict int

// The three verdicts, and the letter that tables write for each.
const (
	Refused Verdict = iota // X: refused, or no answer.
	Direct                 // D: the destination answered without the proxy.
	Proxied                // P: the proxy answered, and had reached the destination.
)

// String returns the verdict in one lower-case word.
func (v Verdict) String() string {
	switch v {
	case Refused:
		return "refused"
	case Direct:
		return "direct"
	case Proxied:
		return "proxied"
	}
	return fmt.Sprintf("Verdict(%d)", int(v))
}

// Result is one container's attempt to reach one destination.
type Result struct {
	Container string
	Dest      Destination
	Verdict   Verdict
	// UID and GID are who connected.
	UID, GID int
	// Err says why the verdict is Refused, for example an error that is syscall.ECONNREFUSED.
	Err error
}

// Root says why this process cannot play pods, and nil when it can: it needs root, the right to make namespaces, and
// the programs ip and iptables.
func Root() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for _, program := range []string{"ip", "iptables", "iptables-save", "iptables-restore"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("look for %s: %w", program, err)
		}
	}
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make namespaces: %w", err)
		}
		return nil
	})
}

// New returns a rig that programs rules with the given pilot-agent.
func New(ctx context.Context, pilotAgent string) (_ *Rig, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := Root(); err != nil {
		return nil, err
	}
	agent, err := os.Open(pilotAgent)
	if err != nil {
		return nil, fmt.Errorf("open pilot-agent: %w", err)
	}
	r := &Rig{agent: agent}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.dir, err = os.MkdirTemp("", "holdfast-kernel-"); err != nil {
		return nil, err
	}
	// A container's user reads it.
	if err := os.Chmod(r.dir, 0o755); err != nil {
		return nil, err
	}
	r.resolvConf = filepath.Join(r.dir, "resolv.conf")
	text := fmt.Sprintf("nameserver %s\n", Nameserver().Addr)
	if err := os.WriteFile(r.resolvConf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return r, nil
}

// Close removes what New made. No play may be running.
func (r *Rig) Close() error {
	return errors.Join(r.agent.Close(), os.RemoveAll(r.dir))
}
