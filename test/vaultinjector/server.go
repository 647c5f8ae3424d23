package vaultinjector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/go-logr/logr"
)

// drain is how long answers under way may take once the server is told to end.
const drain = 5 * time.Second

// Server is an injector that listens.
type Server struct {
	// Endpoint is the address it listens on.
	Endpoint netip.AddrPort
	// URL is the address to put into a webhook configuration; a wildcard address is
	// written as loopback.
	URL string
	// CABundle verifies its certificate.
	CABundle []byte

	stop context.CancelFunc
	done chan struct{}
	err  error
}

// Start serves the injector over TLS until ctx ends or Close is called. It takes the
// listener over and closes it, also when it returns an error. Without a listener
// it opens one on a free loopback port, without a certificate it makes one that is
// good for the listener's address and for the names of the chart's Service.
func (i Injector) Start(ctx context.Context, listener net.Listener, certificate *Certificate) (*Server, error) {
	if listener == nil {
		opened, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("listen for admission reviews: %w", err)
		}
		listener = opened
	}
	s, err := i.serve(ctx, listener, certificate)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return s, nil
}

func (i Injector) serve(ctx context.Context, listener net.Listener, certificate *Certificate) (*Server, error) {
	endpoint, err := netip.ParseAddrPort(listener.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("read the listener's address: %w", err)
	}
	host := endpoint.Addr().Unmap()
	if host.IsUnspecified() {
		host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if certificate == nil {
		p, err := i.product()
		if err != nil {
			return nil, err
		}
		certificate, err = NewCertificate(append(i.ServiceNames(p.name), host.String())...)
		if err != nil {
			return nil, err
		}
	}
	target := url.URL{Scheme: "https", Host: netip.AddrPortFrom(host, endpoint.Port()).String(), Path: mutatePath}
	running, stop := context.WithCancel(ctx)
	s := &Server{
		Endpoint: endpoint,
		URL:      target.String(),
		CABundle: certificate.CABundle,
		stop:     stop,
		done:     make(chan struct{}),
	}
	server := &http.Server{
		Handler:           i.Handler(),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate.Pair}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(i.Log), slog.LevelDebug),
	}
	go s.run(running, server, listener)
	return s, nil
}

// run ends when the server has ended; nothing of it is left behind then.
func (s *Server) run(ctx context.Context, server *http.Server, listener net.Listener) {
	defer close(s.done)
	defer s.stop()
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(listener, "", "") }()
	select {
	case err := <-failed:
		s.err = fmt.Errorf("serve admission reviews: %w", err)
	case <-ctx.Done():
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		if err := server.Shutdown(draining); err != nil {
			s.err = errors.Join(fmt.Errorf("shut down: %w", err), server.Close())
		}
		<-failed //nolint:errcheck // closed by us: nothing to say
	}
}

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close ends the server, waits for it, and tells what went wrong while it ran.
func (s *Server) Close() error {
	s.stop()
	<-s.done
	return s.err
}
