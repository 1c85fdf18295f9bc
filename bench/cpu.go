package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// clockTick is the unit of CPU time in /proc, on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// processStat is what /proc says of a process.
type processStat struct {
	parent   int
	own      time.Duration // CPU time
	children time.Duration // of children that have ended
}

// readStat reads a process's CPU time from /proc/PID/stat. Elsewhere than on Linux there is none.
func readStat(pid int) (processStat, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processStat{}, fmt.Errorf("reading a process's CPU time: %w", err)
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	const parent, userTime, systemTime, childUserTime, childSystemTime = 1, 11, 12, 13, 14
	number := func(field int) int {
		value, _ := strconv.Atoi(fields[field]) // the kernel writes numbers
		return value
	}
	return processStat{
		parent:   number(parent),
		own:      time.Duration(number(userTime)+number(systemTime)) * clockTick,
		children: time.Duration(number(childUserTime)+number(childSystemTime)) * clockTick,
	}, nil
}

// serverPID is the process id of the PostgreSQL server itself, the parent of its backends.
func serverPID(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	var backend int
	if err := pool.QueryRow(ctx, `select pg_backend_pid()`).Scan(&backend); err != nil {
		return 0, fmt.Errorf("looking for the server's process: %w", err)
	}
	stat, err := readStat(backend)
	return stat.parent, err
}

// treeCPU is the CPU time of a process and of all its children, those that have ended too.
func treeCPU(pid int) (time.Duration, error) {
	root, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	total := root.own + root.children
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("listing processes: %w", err)
	}
	for _, entry := range processes {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // no process
		}
		stat, err := readStat(child)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH):
			continue // it has ended
		case err != nil:
			return 0, err
		case stat.parent == pid:
			total += stat.own + stat.children
		}
	}
	return total, nil
}
