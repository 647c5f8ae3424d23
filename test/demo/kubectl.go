package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kubectl is the real one, talking to the demo's cluster.
type kubectl struct {
	binary string
	root   string // of the repository: files are named from there
	env    []string
}

func newKubectl(binary, root, kubeconfig, cache string) *kubectl {
	env := append(os.Environ(),
		"KUBECONFIG="+kubeconfig,
		"KUBECACHEDIR="+filepath.Join(cache, "kubectl"), // or it would leave one in the user's home
		"KUBECTL_KUBERC=false",                          // aliases and defaults of the user's own
	)
	return &kubectl{binary: binary, root: root, env: env}
}

// output runs a command line, without its first word, and returns everything that it printed. An answer other than success is
// an *exec.ExitError.
func (k *kubectl) output(ctx context.Context, line string) (string, error) {
	cmd := exec.CommandContext(ctx, k.binary, strings.Fields(line)...)
	cmd.Dir, cmd.Env = k.root, k.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return strings.TrimSpace(out.String()), err
}

// kubectl shows a command and its answer, and returns the answer. The command must succeed, or fail where refused is set.
func (d *demo) kubectl(ctx context.Context, line string, refused bool) (string, error) {
	d.command("kubectl " + line)
	out, err := d.cli.output(ctx, line)
	if out != "" {
		d.answer(out)
	}
	exit := (*exec.ExitError)(nil)
	switch {
	case errors.As(err, &exit) && refused:
		return out, nil
	case err != nil:
		return out, fmt.Errorf("kubectl %s: %w", line, err)
	case refused:
		return out, fmt.Errorf("kubectl %s: got success, want a refusal", line)
	}
	return out, nil
}
