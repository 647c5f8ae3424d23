package controlplane

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do calls f with the network of the host, as far as f stays on its goroutine. Sockets that f opens stay in the host.
func (h *Host) Do(f func() error) error {
	result := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine, instead of carrying the namespace to another one.
		runtime.LockOSThread()
		if err := h.enter(); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

// StartProcess does what the function of this name does, inside the host. It is for commands that change root or user, which
// Command cannot: the process is killed with this one all the same.
func (h *Host) StartProcess(cmd *exec.Cmd, name, logPath string) (*Process, error) {
	return startProcess(cmd, name, logPath, h.enter)
}

// enter takes the calling thread into the host.
func (h *Host) enter() error {
	namespace, err := os.Open(filepath.Join(netnsDir, h.netns))
	if err != nil {
		return fmt.Errorf("enter host %s: %w", h.name, err)
	}
	defer namespace.Close()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter host %s: %w", h.name, err)
	}
	return nil
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
