// Package cli is the command line of Holdfast: arguments in, streams and exit codes out. What a command does lies in the
// packages it calls.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Exit codes, the same for every command.
const (
	ExitOK     = 0
	ExitFound  = 1 // something was found, and printed
	ExitFailed = 2 // the command could not run
)

// errFound ends a command that has printed what it found.
var errFound = errors.New("something was found")

// Run runs the command that the arguments name and returns the exit code of the process. Results go to stdout, everything
// else to stderr.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); errors.Is(err, errFound) {
		return ExitFound
	} else if err != nil {
		fmt.Fprintf(stderr, "holdfast: %v\n", err)
		return ExitFailed
	}
	return ExitOK
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Keeps pods from hanging where sidecar injectors meet",
		Long: `Holdfast works out in what order a pod's containers will start and who can reach the network at each step. It puts right
what it can, and refuses, with one clear sentence, a pod that would hang in Init.`,
		Example: `  holdfast serve --config holdfast.yaml   # the admission webhook, inside a cluster
  holdfast diagnose                       # does the API server reach it, and the injectors?
  holdfast explain HF101                  # what a code means, or an error text of Kubernetes, a mesh or a cloud
  holdfast version`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(usage)
	root.AddCommand(newServe(), newDiagnose(), newExplain(), newWebhooks(), newVersion())
	return root
}

// usage points to the help of the command that was called wrongly.
func usage(c *cobra.Command, err error) error {
	return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
}
