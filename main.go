// Command holdfast keeps pods from hanging where sidecar injectors meet.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"holdfast.dev/holdfast/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks the command to end; the second one ends it.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
