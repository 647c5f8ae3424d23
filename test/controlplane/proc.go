package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// startTime is when a process started, in ticks since boot: together with its number it names a process for good. It is empty if
// there is no such process.
func startTime(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The command's name, in parentheses, may hold anything; 19 fields after it comes the start time.
	_, rest, ok := strings.Cut(string(stat[max(bytes.LastIndexByte(stat, ')'), 0):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return ""
	}
	return fields[19]
}

// hasNetAdmin says what root lacks in a container that was not given everything.
func hasNetAdmin() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("network namespaces need Linux: %w", err)
	}
	_, rest, _ := strings.Cut(string(status), "\nCapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	effective, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	const netAdmin, sysAdmin = 1 << 12, 1 << 21
	if effective&netAdmin == 0 || effective&sysAdmin == 0 {
		return errors.New("network namespaces need the capabilities NET_ADMIN and SYS_ADMIN")
	}
	return nil
}
