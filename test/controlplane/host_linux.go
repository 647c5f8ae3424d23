package controlplane

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do calls f with the network of the host, as far as f stays on its goroutine. Sockets that f opens stay in the host.
func (h *Host) Do(f func() error) error {
	namespace, err := os.Open(filepath.Join(netnsDir, h.netns))
	if err != nil {
		return fmt.Errorf("enter host %s: %w", h.name, err)
	}
	defer namespace.Close()
	result := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine, instead of carrying the namespace to another one.
		runtime.LockOSThread()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter host %s: %w", h.name, err)
			return
		}
		result <- f()
	}()
	return <-result
}

// Listen listens inside the host: a server of this process that seems to run there. An address without a host part, such as
// ":9443", is all addresses of the host.
func (h *Host) Listen(ctx context.Context, network, address string) (listener net.Listener, err error) {
	err = h.Do(func() error {
		var config net.ListenConfig
		listener, err = config.Listen(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return listener, nil
}
