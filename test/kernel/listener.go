//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What a client reads from the world, what the proxy puts before it, and what is said in the proxy's stead.
const (
	greeting = "hello from the world\n"
	viaProxy = "via the proxy: "
	deadEnd  = "no proxy yet\n"
)

// patience bounds every wait for one connection or answer. Where nobody listens the kernel says so at once; only a packet
// that is lost makes anyone wait this long.
const patience = 3 * time.Second

// deadline is when to give up on what begins now.
func deadline() time.Time {
	return time.Now().Add(patience)
}

// servers are the sockets that serve in a namespace until close.
type servers struct {
	ctx     context.Context // Ends with close.
	cancel  context.CancelFunc
	ns      namespace
	id      identity
	closers []io.Closer
	running sync.WaitGroup
}

func newServers(ctx context.Context, ns namespace, id identity) *servers {
	ctx, cancel := context.WithCancel(ctx)
	return &servers{ctx: ctx, cancel: cancel, ns: ns, id: id}
}

// close ends serving and returns when everything that served has.
func (s *servers) close() error {
	s.cancel()
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	s.running.Wait()
	return errors.Join(errs...)
}

// listen serves every connection to addr.
func (s *servers) listen(addr netip.AddrPort, serve func(*net.TCPConn)) error {
	var listener net.Listener
	bind := func() error {
		return s.ns.do(s.id, func() (err error) {
			config := net.ListenConfig{Control: anyAddress}
			config.SetMultipathTCP(false) // Its sockets do not tell the original destination.
			listener, err = config.Listen(s.ctx, "tcp4", addr.String())
			return err
		})
	}
	err := bind()
	// A program that another play is just starting holds every open socket for a moment, those that are closed by now as well.
	for end := time.Now().Add(time.Second); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); err = bind() {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("listen on tcp %s: %w", addr, err)
	}
	s.closers = append(s.closers, listener)
	s.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // Closed.
			}
			s.running.Go(func() {
				defer conn.Close()
				if conn.SetDeadline(deadline()) == nil {
					serve(conn.(*net.TCPConn)) // What a TCP listener accepts.
				}
			})
		}
	})
	return nil
}

// say returns what serves a connection with text and no more.
func say(text string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) { _, _ = io.WriteString(conn, text) } // The client sees what it did not get.
}

// answer replies text to every datagram that comes to addr.
func (s *servers) answer(addr netip.AddrPort, text func() string) error {
	var socket net.PacketConn
	err := s.ns.do(s.id, func() (err error) {
		config := net.ListenConfig{Control: anyAddress}
		socket, err = config.ListenPacket(s.ctx, "udp4", addr.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("listen on udp %s: %w", addr, err)
	}
	s.closers = append(s.closers, socket)
	s.running.Go(func() {
		buf := make([]byte, 64)
		for {
			_, from, err := socket.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = socket.WriteTo([]byte(text()), from) // Who is gone needs no answer.
			}
		}
	})
	return nil
}

// anyAddress lets a socket listen on an address that no interface has.
func anyAddress(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
	}), err)
}

// newWorld serves every destination: whoever gets there reads the greeting.
func newWorld(ctx context.Context, ns namespace, dests []Destination) (_ *servers, err error) {
	s := newServers(ctx, ns, root())
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	served := map[Destination]bool{}
	for _, d := range dests {
		if served[d] {
			continue
		}
		served[d] = true
		if d.UDP {
			err = s.answer(d.addrPort(), func() string { return greeting })
		} else {
			err = s.listen(d.addrPort(), say(greeting))
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}
