//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// identity is the user and group that a container runs as.
type identity struct{ uid, gid int }

// root is who sets the namespaces up.
func root() identity { return identity{} }

// namespace is a network namespace. It has no name: it lives until the last descriptor and process let go of it.
type namespace struct{ file *os.File }

// newNamespace makes an empty network namespace.
func newNamespace() (namespace, error) {
	var ns namespace
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		ns.file = file
		return err
	})
	return ns, err
}

func (ns namespace) close() error { return ns.file.Close() }

// do calls f inside the namespace. Sockets that f opens belong to id for good, whoever uses them later: the kernel's
// owner match looks at the credentials a socket was opened with.
func (ns namespace) do(id identity, f func() error) error {
	return onThread(func() error {
		if err := ns.enter(); err != nil {
			return err
		}
		if err := become(id); err != nil {
			return err
		}
		return f()
	})
}

// run runs cmd inside the namespace, with resolvConf in place of the machine's /etc/resolv.conf, which only it sees.
func (ns namespace) run(cmd *exec.Cmd, resolvConf string) error {
	return onThread(func() error {
		if err := ns.enter(); err != nil {
			return err
		}
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount(resolvConf, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s over /etc/resolv.conf: %w", resolvConf, err)
		}
		return cmd.Run()
	})
}

func (ns namespace) enter() error {
	if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// become changes the user and group of the calling thread alone: the raw calls, unlike those of package syscall, are not
// repeated on every other thread.
func become(id identity) error {
	if id == root() {
		return nil
	}
	steps := []struct {
		name               string
		number, a1, a2, a3 uintptr
	}{
		{"setgroups", unix.SYS_SETGROUPS, 0, 0, 0},
		{"setresgid", unix.SYS_SETRESGID, uintptr(id.gid), uintptr(id.gid), uintptr(id.gid)},
		{"setresuid", unix.SYS_SETRESUID, uintptr(id.uid), uintptr(id.uid), uintptr(id.uid)},
	}
	for _, step := range steps {
		if _, _, errno := unix.RawSyscall(step.number, step.a1, step.a2, step.a3); errno != 0 {
			return fmt.Errorf("%s to user %d group %d: %w", step.name, id.uid, id.gid, errno)
		}
	}
	return nil
}

// onThread calls f on an operating system thread of its own, which ends with it: what f does to the thread's namespaces
// and credentials cannot be undone and must not be inherited. It is never the main thread, which cannot end and which
// the process as a whole is seen by.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return // Still locked: the runtime ends the thread.
		}
		// As long as this goroutine holds the main thread, the next one is on another.
		done <- onThread(f)
		runtime.UnlockOSThread()
	}()
	return <-done
}

// command returns a command that dies with the thread that starts it and leaves no reader of its output waiting.
func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.WaitDelay = time.Second
	return cmd
}

// exitCode is the code that a command ended with, and whether it ended by itself at all.
func exitCode(err error) (int, bool) {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), true
	}
	return 0, false
}
