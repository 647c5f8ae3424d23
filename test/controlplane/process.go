package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// tailSize is how much of a log an error quotes: the last lines say why a program gave up.
const tailSize = 4 << 10

// errPortTaken marks a program that died because another one took its port after it had been picked.
var errPortTaken = errors.New("port taken by another program")

// Process is one running program whose output goes to a file. It is killed when this process ends.
type Process struct {
	name    string
	logPath string
	logFrom int64 // where its output begins in the log
	cmd     *exec.Cmd
	done    chan struct{}
	waitErr error // set before done is closed
}

// StartProcess starts cmd and appends what it prints to the file logPath. It replaces the command's output streams.
func StartProcess(cmd *exec.Cmd, name, logPath string) (*Process, error) {
	return startProcess(cmd, name, logPath, nil)
}

// startProcess starts cmd from a thread that has entered somewhere; enter may be nil.
func startProcess(cmd *exec.Cmd, name, logPath string, enter func() error) (*Process, error) {
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", name, err)
	}
	defer logFile.Close()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	DieWithParent(cmd)

	info, err := logFile.Stat()
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", name, err)
	}
	p := &Process{name: name, logPath: logPath, logFrom: info.Size(), cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux sends the death signal when the thread that forked ends, not the process, so that thread waits here.
		runtime.LockOSThread()
		var err error
		if enter == nil {
			defer runtime.UnlockOSThread()
		} else { // the thread ends with this goroutine, instead of carrying the namespace to another one
			err = enter()
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			p.waitErr = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Name is the name that StartProcess was given.
func (p *Process) Name() string { return p.name }

// LogPath is the file that holds what the program printed.
func (p *Process) LogPath() string { return p.logPath }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is nil while the program runs. Afterwards it says how it ended and quotes the end of its log.
func (p *Process) Err() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	ended := "exit status 0"
	if p.waitErr != nil {
		ended = p.waitErr.Error()
	}
	tail := p.logTail()
	err := fmt.Errorf("%s ended: %s; end of %s:\n%s", p.name, ended, p.logPath, tail)
	if bytes.Contains(tail, []byte("address already in use")) {
		return fmt.Errorf("%w: %w", errPortTaken, err)
	}
	return err
}

// ExitCode is how the program ended, as a shell counts: 128 and the number of the signal that killed it. It is 0 while the program
// runs.
func (p *Process) ExitCode() int {
	select {
	case <-p.done:
	default:
		return 0
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stop asks the program to end, kills it after the grace period, and returns when it is gone.
func (p *Process) Stop(grace time.Duration) {
	if grace > 0 {
		p.signal(syscall.SIGTERM)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
			return
		case <-timer.C:
		}
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

// signal reaches the program and what it started: each one leads a process group of its own.
func (p *Process) signal(s syscall.Signal) {
	select {
	case <-p.done: // the number may belong to someone else by now
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// logTail is the end of what this program printed; an earlier one may have left its own lines in the file.
func (p *Process) logTail() []byte {
	f, err := os.Open(p.logPath)
	if err != nil {
		return []byte(err.Error())
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return []byte(err.Error())
	}
	from := max(p.logFrom, info.Size()-tailSize)
	data, err := io.ReadAll(io.NewSectionReader(f, from, tailSize))
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(data)
}
