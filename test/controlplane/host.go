package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	netnsDir = "/run/netns"
	// netnsPrefix marks the namespaces of this package: hfhost-<pid>-<start time>-<number>-<name>.
	netnsPrefix = "hfhost"
	// hostLock is held while an address is picked, so that processes do not pick the same.
	hostLock = "/run/holdfast-hosts.lock"
	// maxHosts bounds the hosts of all processes together.
	maxHosts = 256
	// closeTimeout bounds Close, which has no context.
	closeTimeout = 10 * time.Second
)

// hostNumber makes the names within this process unique.
var hostNumber atomic.Int64 //nolint:gochecknoglobals // numbers are unique in a process

// Host is a network namespace that is linked to the one of this process: a machine on a cable. What runs inside can be reached
// at Addr from this process and from the API server, and reaches this process at Gateway. Other hosts are not reachable from it
// unless the system forwards packets.
type Host struct {
	name    string
	netns   string
	link    string // the root side's end of the cable
	addr    netip.Addr
	gateway netip.Addr
}

// Root says why hosts cannot be made here, or nil. They need root, the right to make network namespaces, and iproute2.
func Root() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("network namespaces need iproute2: %w", err)
	}
	if err := hasNetAdmin(); err != nil {
		return err
	}
	return nil
}

// NewHost makes a host and removes what dead processes have left behind. The name is for people; hosts may share one. Close the
// host when it is no longer needed.
func NewHost(ctx context.Context, name string) (*Host, error) {
	if err := Root(); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, hostLock, nil)
	if err != nil {
		return nil, err
	}
	defer unlock()
	removeStale()

	gateway, err := freeGateway()
	if err != nil {
		return nil, err
	}
	number := hostNumber.Add(1)
	h := &Host{
		name:    name,
		netns:   fmt.Sprintf("%s-%d-%s-%d-%s", netnsPrefix, os.Getpid(), startTime(os.Getpid()), number, name),
		link:    fmt.Sprintf("hf%d-%d", os.Getpid(), number), // 15 characters at most
		addr:    gateway.Next(),
		gateway: gateway,
	}
	for _, args := range [][]string{
		{"netns", "add", h.netns},
		{"link", "add", h.link, "type", "veth", "peer", "name", "eth0", "netns", h.netns},
		{"address", "add", h.gateway.String() + "/30", "dev", h.link},
		{"link", "set", h.link, "up"},
		{"-n", h.netns, "link", "set", "lo", "up"},
		{"-n", h.netns, "address", "add", h.addr.String() + "/30", "dev", "eth0"},
		{"-n", h.netns, "link", "set", "eth0", "up"},
		{"-n", h.netns, "route", "add", "default", "via", h.gateway.String()},
	} {
		if err := ip(ctx, args...); err != nil {
			return nil, errors.Join(fmt.Errorf("make host %s: %w", name, err), h.Close())
		}
	}
	return h, nil
}

// Name is the name that NewHost was given.
func (h *Host) Name() string { return h.name }

// Namespace is the name of the network namespace, as ip netns knows it.
func (h *Host) Namespace() string { return h.netns }

// Addr is the address of the host.
func (h *Host) Addr() netip.Addr { return h.addr }

// Gateway is the address at which the host reaches this process.
func (h *Host) Gateway() netip.Addr { return h.gateway }

// Command is a command that runs inside the host, and is killed with this process.
func (h *Host) Command(ctx context.Context, binary string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.netns, binary}, args...)...)
	dieWithParent(cmd)
	return cmd
}

// Close removes the namespace and the link. What still runs inside keeps the namespace alive without a name or a link.
func (h *Host) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	// The link goes with the namespace, but only once nothing runs there any more.
	var errs []error
	if _, err := net.InterfaceByName(h.link); err == nil {
		errs = append(errs, ip(ctx, "link", "delete", h.link))
	}
	if _, err := os.Stat(filepath.Join(netnsDir, h.netns)); err == nil {
		errs = append(errs, ip(ctx, "netns", "delete", h.netns))
	}
	return errors.Join(errs...)
}

// freeGateway picks the root side's address of the first /30 that no interface of this machine uses, in the range that RFC 2544
// sets aside for tests: EndpointSlices accept it, and no network routes it.
func freeGateway() (netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list addresses: %w", err)
	}
	used := map[netip.Addr]bool{}
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil {
			used[prefix.Addr().Unmap()] = true
		}
	}
	for n := range maxHosts {
		gateway := netip.AddrFrom4([4]byte{198, 18, byte(n >> 6), byte(n<<2) | 1})
		if !used[gateway] {
			return gateway, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%d hosts are there already", maxHosts)
}

// removeStale removes the namespaces of processes that are gone, and with them their links. What cannot be removed stays: it is
// in nobody's way.
func removeStale() {
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		parts := strings.SplitN(entry.Name(), "-", 5)
		if len(parts) != 5 || parts[0] != netnsPrefix {
			continue
		}
		pid, err := strconv.Atoi(parts[1])
		if err != nil || startTime(pid) == parts[2] {
			continue
		}
		stale := &Host{netns: entry.Name(), link: fmt.Sprintf("hf%d-%s", pid, parts[3])}
		_ = stale.Close()
	}
}

func ip(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
