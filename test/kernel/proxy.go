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

	"golang.org/x/sys/unix"
)

// maxHops bounds how many connections the proxy carries at once. Containers connect one at a time, so that only a proxy
// whose own connections are redirected to itself gets there.
const maxHops = 8

// proxyDNS is where captured names are asked for.
const proxyDNS = "127.0.0.1:15053"

// newProxy serves in the place of istio-proxy, as its user: TCP to where the connection was going before it was
// redirected, and names.
func newProxy(ctx context.Context, ns namespace, id identity) (_ *servers, err error) {
	s := newServers(ctx, ns, id)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	hops := make(chan struct{}, maxHops)
	forward := func(conn *net.TCPConn) {
		select {
		case hops <- struct{}{}:
			defer func() { <-hops }()
			_ = s.forward(conn) // The client sees what it did not get.
		default:
		}
	}
	if err := s.listen(netip.MustParseAddrPort("0.0.0.0:15001"), forward); err != nil {
		return nil, err
	}
	if err := s.listen(netip.MustParseAddrPort(proxyDNS), forward); err != nil {
		return nil, err
	}
	if err := s.answer(netip.MustParseAddrPort(proxyDNS), viaProxy+greeting); err != nil {
		return nil, err
	}
	return s, nil
}

// newLimbo catches the datagrams that are redirected to a proxy that does not serve yet. Without it they are lost in
// silence, for the kernel's "port unreachable" does not find its way back through istio-iptables' connection tracking
// zones, and every refusal would be a wait.
func newLimbo(ctx context.Context, ns namespace, id identity) (*servers, error) {
	s := newServers(ctx, ns, id)
	if err := s.answer(netip.MustParseAddrPort(proxyDNS), deadEnd); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// forward gives the client what its original destination says, marked as having come through the proxy.
func (s *servers) forward(client *net.TCPConn) error {
	to, err := originalDestination(client)
	if err != nil {
		return err
	}
	upstream, err := dial(s.ctx, s.ns, s.id, Destination{Addr: to.Addr(), Port: to.Port()})
	if err != nil {
		return err
	}
	defer upstream.Close() //nolint:errcheck // Nothing was written.
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
