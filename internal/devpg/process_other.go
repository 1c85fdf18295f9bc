//go:build !linux

package devpg

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sysProcAttr has no way to tie the child's life to the program's here. A
// server that outlives a killed program is stopped by the next start on its
// data directory, or by the next one on a temporary directory.
func sysProcAttr(syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{}
}

// isServerOn reports whether the process is a PostgreSQL server on pgdata, whose
// name is among its arguments.
func isServerOn(ctx context.Context, pid int, pgdata string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()

	//nolint:gosec // a process id is a number
	command, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()

	return err == nil && strings.Contains(string(command), "postgres") && strings.Contains(string(command), pgdata)
}
