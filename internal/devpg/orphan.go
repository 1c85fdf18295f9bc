package devpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// clusterName marks the servers of this package, in their arguments and in
	// the titles of their processes.
	clusterName = "webhook-worker-dev"

	temporaryPrefix = "webhook-worker-pg-"

	// A temporary directory is abandoned if nobody has its lock. Its program
	// takes that right after creating it, so a young one may be just that.
	abandonedAge = 10 * time.Minute
)

// tryLock takes a lock that goes with the program, and with no child of it.
// Another's lock is EWOULDBLOCK.
func tryLock(path string) (*os.File, error) {
	//nolint:gosec // it tells whoever finds it locked which process to look for
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}

	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}

	return file, nil
}

// recordOwner writes this process's id to the lock, for the error of a second.
func (d *dataDir) recordOwner() error {
	if err := d.lock.Truncate(0); err != nil {
		return err
	}

	_, err := d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)

	return err
}

func (d *dataDir) owner() string {
	content, err := os.ReadFile(filepath.Join(d.path, "lock"))
	if pid := strings.TrimSpace(string(content)); err == nil && pid != "" {
		return pid
	}

	return "of unknown id"
}

// stopOrphan ends a server whose program died, and makes a stale postmaster.pid
// harmless. The caller has the lock, so no live program of this package has a
// server here; another's is an error.
func (d *dataDir) stopOrphan(ctx context.Context, logger *slog.Logger) error {
	pid := d.postmaster()
	if pid == 0 {
		return nil
	}

	if !isServerOn(ctx, pid, d.pgdata()) {
		return d.disownPidFile(pid)
	}

	options, err := os.ReadFile(filepath.Join(d.pgdata(), "postmaster.opts"))
	if err != nil || !bytes.Contains(options, []byte(clusterName)) {
		return fmt.Errorf("PostgreSQL's data directory %s is in use by a server that was started by hand, process %d",
			d.path, pid)
	}

	logger.InfoContext(ctx, "stopping the postgresql server of a program that died", slog.String("data_dir", d.path), slog.Int("pid", pid))

	for _, step := range []struct {
		signal  syscall.Signal
		timeout time.Duration
	}{{syscall.SIGINT, fastTimeout}, {syscall.SIGQUIT, quitTimeout}, {syscall.SIGKILL, quitTimeout}} {
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stopping the server, process %d, that a dead program left in %s: %w", pid, d.path, err)
		}

		for deadline := time.Now().Add(step.timeout); time.Now().Before(deadline); {
			if !isServerOn(ctx, pid, d.pgdata()) {
				return d.disownPidFile(pid)
			}

			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
	}

	return fmt.Errorf("the server, process %d, that a dead program left in %s doesn't stop", pid, d.path)
}

// postmaster returns the process id in postmaster.pid, 0 if there is none.
func (d *dataDir) postmaster() int {
	content, err := os.ReadFile(filepath.Join(d.pgdata(), "postmaster.pid"))
	if err != nil {
		return 0
	}

	first, _, _ := strings.Cut(string(content), "\n")

	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 {
		return 0
	}

	return pid
}

// disownPidFile deals with a postmaster.pid whose process id is now that of a
// program that has nothing to do with PostgreSQL, or of a dead server that
// nobody has waited for yet. PostgreSQL would refuse to start. It ignores its parent's id, though, so that is written there; without
// the file it would not notice remaining processes of the dead server, by the
// shared memory that the file names.
func (d *dataDir) disownPidFile(pid int) error {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return nil // PostgreSQL sees that by itself
	}

	path := filepath.Join(d.pgdata(), "postmaster.pid")

	// Not through a link: root writes into another account's directory here.
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the server removed it when it ended
	}

	if err != nil {
		return fmt.Errorf("opening a stale postmaster.pid: %w", err)
	}
	defer func() { _ = file.Close() }()

	content, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("reading a stale postmaster.pid: %w", err)
	}

	_, rest, _ := bytes.Cut(content, []byte("\n"))
	content = append([]byte(strconv.Itoa(os.Getpid())+"\n"), rest...)

	_, err = file.WriteAt(content, 0)
	if err := errors.Join(err, file.Truncate(int64(len(content)))); err != nil {
		return fmt.Errorf("rewriting a stale postmaster.pid: %w", err)
	}

	return nil
}

// removeAbandoned removes the temporary directories of programs that were killed
// before they could. It is a courtesy to the disk: errors don't matter.
func removeAbandoned(ctx context.Context, logger *slog.Logger, root string, acct *account) {
	dirs, _ := filepath.Glob(filepath.Join(root, temporaryPrefix+"*"))

	for _, path := range dirs {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < abandonedAge {
			continue
		}

		// Another user's is that user's to remove.
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
			continue
		}

		lock, err := tryLock(filepath.Join(path, "lock"))
		if err != nil {
			continue
		}

		dir := &dataDir{path: path, temporary: true, account: acct, lock: lock}
		if dir.stopOrphan(ctx, logger) == nil {
			logger.DebugContext(ctx, "removing an abandoned data directory", slog.String("data_dir", path))

			_ = dir.close()
		} else {
			_ = lock.Close()
		}
	}
}

// temporaryRoot returns the first directory for temporary files that the account
// can enter.
func temporaryRoot(configured string, acct *account) string {
	for _, root := range []string{configured, os.TempDir()} {
		if root != "" && acct.blocked(root) == "" {
			return root
		}
	}

	return "/tmp"
}
