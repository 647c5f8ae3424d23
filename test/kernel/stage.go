//go:build linux

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Both ends of the link are documentation addresses (RFC 5737), which no destination needs.
const (
	linkPrefix = "192.0.2.0/24"
	podAddress = "192.0.2.2"
)

// The pod's side. Without a routable address istio-iptables leaves without a rule and without a complaint. The index is
// not the one of the other end: to a kernel that finds both the same the link is no veth, and up within a second or so.
const podLink = `link set lo up
link add eth0 index 10 type veth peer name eth0 netns /proc/self/fd/3
addr add ` + podAddress + `/24 dev eth0
link set eth0 up
route add default via 192.0.2.1
`

// The world's side. Every address that is not on the link is its own: the route is in table main, where the link's route
// is more specific, and not in table local, where it would swallow the way back.
const worldLink = `link set lo up
addr add 192.0.2.1/24 dev eth0
link set eth0 up
route add local default dev lo table main
`

// stage is where one play happens: the pod's namespace, and the world's.
type stage struct {
	rig   *Rig
	pod   namespace
	world namespace
}

func (r *Rig) newStage(ctx context.Context) (_ *stage, err error) {
	s := &stage{rig: r}
	if s.pod, err = newNamespace(); err != nil {
		return nil, err
	}
	if s.world, err = newNamespace(); err != nil {
		return nil, errors.Join(err, s.pod.close())
	}
	if err := s.link(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close lets go of both namespaces; the kernel takes them down, the link and the rules with them.
func (s *stage) close() error { return errors.Join(s.pod.close(), s.world.close()) }

func (s *stage) link(ctx context.Context) error {
	for _, side := range []struct {
		namespace
		script string
	}{{s.pod, podLink}, {s.world, worldLink}} {
		cmd := command(ctx, "ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(side.script)
		cmd.ExtraFiles = []*os.File{s.world.file}
		if out, err := s.output(side.namespace, cmd); err != nil {
			return fmt.Errorf("link the namespaces: %w: %s", err, out)
		}
	}
	return errors.Join(s.pod.awaitLink(ctx), s.world.awaitLink(ctx))
}

// awaitLink returns when the namespace's end of the link carries packets. What is sent before is lost, and sent again a
// second later.
func (ns namespace) awaitLink(ctx context.Context) error {
	return ns.do(root(), func() error {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			link, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			if link.Flags&net.FlagRunning != 0 {
				return nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("wait for the link: %w", ctx.Err())
			}
		}
	})
}

// output runs cmd in ns and returns what it wrote to both streams.
func (s *stage) output(ns namespace, cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := ns.run(cmd, s.rig.resolvConf)
	return strings.TrimSpace(out.String()), err
}

// ExitError is a container of a mesh that ended with a code other than 0. In a cluster it is started again and again.
// The node plugin counts as a container named sandbox: where it fails no container has a turn.
type ExitError struct {
	Container string
	Code      int
	Output    string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("container %q: exit code %d: %s", e.Container, e.Code, e.Output)
}

// environment is what every program of a play finds.
func (s *stage) environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"XTABLES_LOCKFILE=" + s.rig.dir + "/lock", // A container has its own /run.
	}
}

// check refuses what this rig cannot answer for.
func (d Destination) check() error {
	switch {
	case !d.Addr.Is4():
		return fmt.Errorf("destination %s: not an IPv4 address", d)
	case d.Addr.IsLoopback() || d.Addr.IsUnspecified() || d.Addr.IsMulticast():
		return fmt.Errorf("destination %s: not an address outside the pod", d)
	case netip.MustParsePrefix(linkPrefix).Contains(d.Addr):
		return fmt.Errorf("destination %s: within %s, which joins the namespaces", d, linkPrefix)
	case d.Port == 0:
		return fmt.Errorf("destination %s: no port", d)
	}
	return nil
}
