package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
)

// hub is what the hosts of this process are plugged into.
var hub hostSwitch //nolint:gochecknoglobals // like the addresses of the machine, there is one for the whole process

// hostSwitch is a bridge that the hosts of one process share with the process itself, so that hosts reach each other without the
// machine forwarding packets. It is in a network namespace of its own: where br_netfilter is loaded, a bridge obeys the packet
// filter of its namespace, and the machine's may drop what it does not know. It is there as long as a host is.
type hostSwitch struct {
	mu     sync.Mutex
	hosts  map[*Host]bool
	number int
	netns  string
	wiring wiring
}

// uplink is the end of the switch's cable in the namespace of the process: the interface that has every gateway's address.
func uplink(pid int) string { return fmt.Sprintf("hf%d-0", pid) } // 15 characters at most

func netnsName(number int, name string) string {
	return fmt.Sprintf("%s-%d-%s-%d-%s", netnsPrefix, os.Getpid(), startTime(os.Getpid()), number, name)
}

// plug makes a host. The caller holds hostLock, as the gateway's address is free until an interface has it.
func (s *hostSwitch) plug(ctx context.Context, name string) (*Host, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gateway, err := freeGateway()
	if err != nil {
		return nil, err
	}
	if len(s.hosts) == 0 {
		if err := s.make(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("make a switch for host %s: %w", name, err), s.wiring.undo())
		}
	}
	s.number++
	h := &Host{name: name, netns: netnsName(s.number, name), addr: gateway.Next(), gateway: gateway}
	s.hosts[h] = true
	port := fmt.Sprintf("port%d", s.number)
	if err := h.wiring.do(ctx, []wire{
		{do: []string{"netns", "add", h.netns}, undo: []string{"netns", "delete", h.netns}},
		{
			do:   []string{"-n", s.netns, "link", "add", port, "type", "veth", "peer", "name", "eth0", "address", hardware(h.addr), "netns", h.netns},
			undo: []string{"-n", s.netns, "link", "delete", port},
		},
		{do: []string{"-n", s.netns, "link", "set", port, "master", "bridge", "up"}},
		{
			do:   []string{"address", "add", h.gateway.String() + "/30", "dev", uplink(os.Getpid())},
			undo: []string{"address", "delete", h.gateway.String() + "/30", "dev", uplink(os.Getpid())},
		},
		{do: []string{"-n", h.netns, "link", "set", "lo", "up"}},
		{do: []string{"-n", h.netns, "address", "add", h.addr.String() + "/30", "dev", "eth0"}},
		{do: []string{"-n", h.netns, "link", "set", "eth0", "up"}},
		{do: []string{"-n", h.netns, "route", "add", "default", "via", h.gateway.String()}},
		{do: []string{"-n", h.netns, "route", "add", hostRange().String(), "dev", "eth0"}}, // the other hosts
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("make host %s: %w", name, err), s.remove(h))
	}
	return h, nil
}

// make makes the switch.
func (s *hostSwitch) make(ctx context.Context) error {
	s.hosts, s.netns = map[*Host]bool{}, netnsName(0, "switch")
	link := uplink(os.Getpid())
	return s.wiring.do(ctx, []wire{
		{do: []string{"netns", "add", s.netns}, undo: []string{"netns", "delete", s.netns}},
		{do: []string{"-n", s.netns, "link", "add", "bridge", "up", "type", "bridge"}},
		{
			do:   []string{"link", "add", link, "type", "veth", "peer", "name", "uplink", "netns", s.netns},
			undo: []string{"link", "delete", link},
		},
		{do: []string{"-n", s.netns, "link", "set", "uplink", "master", "bridge", "up"}},
		{do: []string{"link", "set", link, "up"}},
	})
}

// unplug removes a host, and the switch after the last one.
func (s *hostSwitch) unplug(h *Host) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hosts[h] {
		return nil // closed before
	}
	return s.remove(h)
}

func (s *hostSwitch) remove(h *Host) error {
	delete(s.hosts, h)
	err := h.wiring.undo()
	if len(s.hosts) == 0 {
		err = errors.Join(err, s.wiring.undo())
	}
	return err
}

// hardware is a locally administered hardware address that an IPv4 address has for good: whoever remembers that of a host which
// is gone finds the next host with its address.
func hardware(addr netip.Addr) string {
	b := addr.As4()
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// wire is an ip command, and the one that takes it back, if any is needed.
type wire struct{ do, undo []string }

// wiring is what has been done and is to be taken back.
type wiring struct{ done []wire }

func (w *wiring) do(ctx context.Context, wires []wire) error {
	for _, next := range wires {
		if err := ip(ctx, next.do...); err != nil {
			return err
		}
		w.done = append(w.done, next)
	}
	return nil
}

// undo takes back, last first. A cable does go with its namespace, but only once nothing runs there any more.
func (w *wiring) undo() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, last := range slices.Backward(w.done) {
		if last.undo != nil {
			errs = append(errs, ip(ctx, last.undo...))
		}
	}
	w.done = nil
	return errors.Join(errs...)
}
