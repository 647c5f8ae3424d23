package controlplane

import (
	"context"
	"fmt"
	"net"
	"time"
)

// pollInterval is short: what is polled is on this machine.
const pollInterval = 100 * time.Millisecond

// WaitFor calls ready until it returns nil. It gives up when the context ends or one of the processes does, and then returns
// what was being waited for together with the last answer.
func WaitFor(ctx context.Context, what string, processes []*Process, ready func(context.Context) error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		for _, p := range processes {
			if died := p.Err(); died != nil {
				return fmt.Errorf("wait for %s: %w", what, died)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last answer: %w", what, context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}

// freePorts picks n TCP ports of the loopback address that nothing listens on. Another program can take one before it is used;
// callers start again with others when that happens (errPortTaken).
func freePorts(ctx context.Context, n int) ([]int, error) {
	var config net.ListenConfig
	ports := make([]int, n)
	for i := range ports {
		listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("pick a free port: %w", err)
		}
		defer listener.Close() // all stay open until the last is picked, so that no two are the same
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
