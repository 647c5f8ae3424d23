// Command demo shows what Holdfast does, on a real control plane with the real istiod: a pod that would hang in Init is put
// right, one that cannot be put right is refused, and others are warned about, recorded and left alone. It starts everything
// it needs, checks each outcome, cleans up, and fails where an outcome is not the one it announces.
//
//	go run ./test/demo           runs and ends
//	go run ./test/demo --keep    leaves the cluster running until Ctrl-C (KEEP=1 is the same)
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	keep := flag.Bool("keep", on(os.Getenv("KEEP")), "leave the cluster running until Ctrl-C")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo takes no arguments, got %q\n", flag.Args())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	err := run(ctx, options{out: os.Stdout, colour: colours(os.Stdout), keep: *keep})
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "interrupted; nothing is left running")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// on reads a switch from the environment: anything but the usual words for no.
func on(value string) bool {
	switch value {
	case "", "0", "false", "no":
		return false
	}
	return true
}

// colours tells whether the file is a terminal whose user has not asked for plain text (https://no-color.org).
func colours(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
