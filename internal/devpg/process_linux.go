package devpg

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// sysProcAttr makes the kernel send the signal to the child when the program
// dies in whatever way.
func sysProcAttr(deathSignal syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: deathSignal}
}

// isServerOn reports whether the process is a PostgreSQL server on pgdata, which
// is where every server has its working directory.
func isServerOn(_ context.Context, pid int, pgdata string) bool {
	cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	if err != nil {
		return false // gone, or another user's, which then isn't ours
	}

	want, err := filepath.EvalSymlinks(pgdata)

	return err == nil && cwd == want
}
