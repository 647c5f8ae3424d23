// Package suites raises what all tests of a package share: a control plane, and whatever the package puts into it. Starting that
// takes longer than most of the tests, so it is done once, in TestMain, and everything is undone at the end.
package suites

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/test/controlplane"
)

// Options say what a suite is called and needs.
type Options struct {
	// Name is that of the package; it is part of the name of Dir.
	Name string
	// Needs is what the tests do as root, "network namespaces". Where that is not possible nothing is tested, which is an error in
	// CI. When empty, no root is needed.
	Needs string
}

// Suite is what every suite starts with.
type Suite struct {
	Binaries controlplane.Binaries
	Dir      string // removed at the end
	Cluster  *controlplane.Cluster
	Client   *kubernetes.Clientset

	cleanups []func()
}

// Cleanup registers what is undone when all tests have run, or the start has failed. The last one registered is called first.
func (s *Suite) Cleanup(undo func()) { s.cleanups = append(s.cleanups, undo) }

func (s *Suite) end() {
	for _, undo := range slices.Backward(s.cleanups) {
		undo()
	}
}

// Main starts a control plane, lets start do the rest, and runs the tests; it returns the exit code. The context of start ends
// after the tests. With -short nothing is started and nothing tested.
func Main(m *testing.M, o Options, start func(context.Context, *Suite) error) int {
	flag.Parse()
	if testing.Short() {
		fmt.Fprintln(os.Stderr, "-short: no control plane is started, nothing is tested")
		return 0
	}
	if o.Needs != "" {
		if reason := controlplane.Root(); reason != nil {
			if os.Getenv("CI") == "true" {
				fmt.Fprintf(os.Stderr, "these tests need %s, and CI is true: %v\n", o.Needs, reason)
				return 1
			}
			fmt.Fprintf(os.Stderr, "not tested, without %s: %v\n", o.Needs, reason)
			return 0
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &Suite{}
	defer s.end()
	err := s.raise(ctx, o)
	if err == nil {
		err = start(ctx, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func (s *Suite) raise(ctx context.Context, o Options) (err error) {
	if s.Binaries, err = controlplane.Build(ctx, os.Stderr); err != nil {
		return err
	}
	if s.Dir, err = os.MkdirTemp("", "holdfast-"+o.Name+"-"); err != nil {
		return err
	}
	s.Cleanup(func() { _ = os.RemoveAll(s.Dir) })
	if s.Cluster, err = controlplane.Start(ctx, controlplane.Options{Binaries: s.Binaries, Log: os.Stderr}); err != nil {
		return err
	}
	s.Cleanup(s.Cluster.Stop)
	s.Client, err = kubernetes.NewForConfig(s.Cluster.Config())
	return err
}
