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
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	ctx, cancel := context.WithCancel(ctx)
	// A reader that goes away (demo | head) is a reason to end, and not at once: there is much to clean up.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	go func() {
		<-pipes
		cancel()
	}()
	err := run(ctx, options{out: os.Stdout, colour: colours(os.Stdout), keep: *keep})
	cancel()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "demo:", err)
	if errors.Is(err, errInterrupted) {
		os.Exit(130)
	}
	os.Exit(1)
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
