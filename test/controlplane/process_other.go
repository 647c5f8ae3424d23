//go:build unix && !linux

package controlplane

import (
	"os/exec"
	"syscall"
)

// DieWithParent puts cmd into a process group of its own. Only Linux can also tie its life to ours.
func DieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}
