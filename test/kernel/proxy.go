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

// proxyDNS is where captured names are asked for.
const proxyDNS = "127.0.0.1:15053"

// proxy stands for istio-proxy, as its user.
type proxy struct {
	*servers
	serving atomic.Bool
}

// newProxy returns a proxy that does not serve yet. All it does is say so to the datagrams that are redirected to it.
// Without that they are lost in silence, for the kernel's "port unreachable" does not find its way back through
// istio-iptables' connection tracking zones, and every refusal would be a wait.
func newProxy(ctx context.Context, ns namespace, id identity) (*proxy, error) {
	p := &proxy{servers: newServers(ctx, ns, id)}
	err := p.answer(netip.MustParseAddrPort(proxyDNS), func() string {
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
	for _, addr := range []string{"0.0.0.0:15001", proxyDNS} {
		if err := p.listen(netip.MustParseAddrPort(addr), forward); err != nil {
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
