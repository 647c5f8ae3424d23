//go:build unix && !linux

package controlplane

import (
	"context"
	"errors"
	"net"
	"os/exec"
)

var errNoHosts = errors.New("network namespaces need Linux")

// Do says that there are no hosts on this system.
func (h *Host) Do(func() error) error { return errNoHosts }

// StartProcess says that there are no hosts on this system.
func (h *Host) StartProcess(*exec.Cmd, string, string) (*Process, error) { return nil, errNoHosts }

// Listen says that there are no hosts on this system.
func (h *Host) Listen(context.Context, string, string) (net.Listener, error) { return nil, errNoHosts }
