package controlplane

import (
	"os/exec"
	"syscall"
)

// DieWithParent puts cmd into a process group of its own and has the kernel kill it when this process ends.
func DieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
