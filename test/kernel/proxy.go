//go:build linux

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxHops bounds how many connections the proxy carries at once. Containers connect one at a time, so that only a proxy
// whose own connections are redirected to itself gets there.
const maxHops = 8

// proxy stands for a mesh's proxy, as its user.
type proxy struct {
	*servers
	listens []netip.AddrPort // TCP.
	serving atomic.Bool
}

// newProxy returns a proxy that does not serve yet. All it does is say so to the datagrams that are redirected to it.
// Without that they are lost in silence, for the kernel's "port unreachable" does not find its way back through the
// connection tracking zones of a mesh that captures names, and every refusal would be a wait.
func newProxy(ctx context.Context, ns namespace, id identity, m mesh, answers bool) (*proxy, error) {
	p := &proxy{servers: newServers(ctx, ns, id)}
	p.listens = append(p.listens, netip.AddrPortFrom(netip.IPv4Unspecified(), m.outbound))
	if m.dns == 0 {
		return p, nil
	}
	names := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), m.dns)
	p.listens = append(p.listens, names)
	if !answers {
		return p, nil
	}
	err := p.answer(names, func() string {
		if p.serving.Load() {
			return viaProxy + greeting
		}
		return deadEnd
	})
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// serve begins to serve: TCP to where a connection was going before it was redirected, and names.
func (p *proxy) serve() error {
	hops := make(chan struct{}, maxHops)
	forward := func(conn *net.TCPConn) {
		select {
		case hops <- struct{}{}:
			defer func() { <-hops }()
			_ = p.forward(conn) // The client sees what it did not get.
		default:
		}
	}
	for _, addr := range p.listens {
		if err := p.listen(addr, forward); err != nil {
			return err
		}
	}
	p.serving.Store(true)
	return nil
}

// forward gives the client what its original destination says, marked as having come through the proxy.
func (p *proxy) forward(client *net.TCPConn) error {
	to, err := originalDestination(client)
	if err != nil {
		return err
	}
	upstream, err := dial(p.ctx, p.ns, p.id, Destination{Addr: to.Addr(), Port: to.Port()})
	if err != nil {
		return err
	}
	defer upstream.Close()
	if _, err := io.WriteString(client, viaProxy); err != nil {
		return err
	}
	_, err = io.Copy(client, upstream)
	return err
}

// originalDestination is where a redirected connection was going.
func originalDestination(conn *net.TCPConn) (netip.AddrPort, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	// The kernel fills in a sockaddr_in; this option's type only has room for it.
	var addr *unix.IPv6Mreq
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		addr, sockErr = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST)
	})
	if err := errors.Join(err, sockErr); err != nil {
		return netip.AddrPort{}, fmt.Errorf("original destination: %w", err)
	}
	port := binary.BigEndian.Uint16(addr.Multiaddr[2:4])
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr.Multiaddr[4:8])), port), nil
}
