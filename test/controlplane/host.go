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
	"time"
)

const (
	netnsDir = "/run/netns"
	// netnsPrefix marks the namespaces of this package: hfhost-<pid>-<start time>-<number>-<name>. Number 0 is the switch.
	netnsPrefix = "hfhost"
	// hostLock is held while an address is picked, so that processes do not pick the same.
	hostLock = "/run/holdfast-hosts.lock"
	// maxHosts bounds the hosts of all processes together.
	maxHosts = 256
	// closeTimeout bounds Close, which has no context.
	closeTimeout = 10 * time.Second
)

// hostRange holds the addresses of all hosts. RFC 2544 sets it aside for tests: EndpointSlices accept it, and no network routes it.
func hostRange() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, 0, 0}), 22) }

// Host is a network namespace that is linked to the one of this process: a machine on a cable. What runs inside can be reached
// at Addr from this process, from the API server and from the other hosts of this process, and reaches this process at Gateway.
type Host struct {
	name    string
	netns   string
	addr    netip.Addr
	gateway netip.Addr
	wiring  wiring
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
	removeStale(ctx)

	return hub.plug(ctx, name)
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
	DieWithParent(cmd)
	return cmd
}

// Close removes the namespace and its cable. What still runs inside keeps the namespace alive without a name or a cable.
func (h *Host) Close() error { return hub.unplug(h) }

// freeGateway picks the root side's address of the first /30 of the range that no interface of this machine uses.
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
		base := hostRange().Addr().As4()
		gateway := netip.AddrFrom4([4]byte{base[0], base[1], byte(n >> 6), byte(n<<2) | 1})
		if !used[gateway] {
			return gateway, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%d hosts are there already", maxHosts)
}

// removeStale removes the namespaces of processes that are gone, and with them their cables. What cannot be removed stays: it is
// in nobody's way.
func removeStale(ctx context.Context) {
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
		if link := uplink(pid); parts[3] == "0" && exists(filepath.Join("/sys/class/net", link)) {
			_ = ip(ctx, "link", "delete", link) // with its addresses, at once
		}
		_ = ip(ctx, "netns", "delete", entry.Name())
	}
}

func ip(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
