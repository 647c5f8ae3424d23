// Command verify tells whether the generated files are up to date: it copies the repository as it stands (what git tracks
// and what is new, not what git ignores), generates there, and compares. The work tree may be dirty and is not touched.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := verify(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func verify(ctx context.Context, out io.Writer) error {
	fresh, err := os.MkdirTemp("", "holdfast-verify-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	// Containers often run as another user than the one who checked out; listing names is safe all the same.
	git := exec.CommandContext(ctx, "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	git.Stderr = os.Stderr
	list, err := git.Output()
	if err != nil {
		return fmt.Errorf("list the repository's files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		if err := copyFile(fresh, name); err != nil {
			return fmt.Errorf("copy the repository: %w", err)
		}
	}
	generate := exec.CommandContext(ctx, "make", "--no-print-directory", "generate")
	generate.Dir = fresh
	generate.Env = append(os.Environ(), "MAKEFLAGS=", "GOWORK=off")
	if out, err := generate.CombinedOutput(); err != nil {
		return fmt.Errorf("generate in a copy: %w\n%s", err, out)
	}
	stale, err := compare(ctx, out, fresh)
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	if len(stale) > 0 {
		return fmt.Errorf("out of date: %s; run: make generate", strings.Join(stale, ", "))
	}
	return nil
}

// copyFile copies a file of the repository. One that git tracks may have been removed.
func copyFile(to, name string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	target := filepath.Join(to, name)
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		link, err := os.Readlink(name)
		if err != nil {
			return err
		}
		return os.Symlink(link, target)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return os.WriteFile(target, data, info.Mode().Perm())
}

// compare prints how the files below fresh differ from those here, and returns the names of those that do.
func compare(ctx context.Context, out io.Writer, fresh string) (stale []string, err error) {
	err = filepath.WalkDir(fresh, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(fresh, path)
		if err != nil {
			return err
		}
		generated, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if here, err := os.ReadFile(name); err == nil && bytes.Equal(here, generated) {
			return nil
		}
		stale = append(stale, name)
		here := name
		if _, err := os.Stat(name); err != nil {
			here = os.DevNull
		}
		diff := exec.CommandContext(ctx, "git", "diff", "--no-index", "--no-color", "--", here, path)
		diff.Stdout = out
		if err := diff.Run(); diff.ProcessState == nil {
			return fmt.Errorf("show the difference: %w", err)
		}
		return nil
	})
	return stale, err
}
