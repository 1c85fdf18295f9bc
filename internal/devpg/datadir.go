package devpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// dataDir is a directory that holds
//
//	lock           held by the program that uses it, with that one's process id
//	password       the superuser's
//	pgdata         PostgreSQL's own files, complete as soon as it has that name
//	postgres.log   the last run's log
//
// Only pgdata belongs to the account that runs the server.
type dataDir struct {
	path      string
	temporary bool
	account   *account
	lock      *os.File
}

func (d *dataDir) pgdata() string { return filepath.Join(d.path, "pgdata") }

func (d *dataDir) logPath() string { return filepath.Join(d.path, "postgres.log") }

// openDataDir creates the directory if need be, takes its lock, and ends the
// server of a program that died.
func openDataDir(ctx context.Context, cfg *Config, acct *account) (*dataDir, error) {
	dir := &dataDir{path: cfg.DataDir, account: acct}

	if dir.path == "" {
		dir.temporary = true
		dir.path = temporaryRoot(cfg.TempDir, acct)

		removeAbandoned(ctx, cfg.Logger, dir.path, acct)
	}

	if err := dir.create(); err != nil {
		return nil, fmt.Errorf("creating PostgreSQL's data directory: %w", err)
	}

	dir.account = acct.owning(dir.pgdata())

	lock, err := tryLock(filepath.Join(dir.path, "lock"))
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("PostgreSQL's data directory %s is in use by process %s", dir.path, dir.owner())
	} else if err != nil {
		return nil, fmt.Errorf("locking PostgreSQL's data directory: %w", err)
	}

	dir.lock = lock

	if err := dir.recordOwner(); err != nil {
		return nil, errors.Join(fmt.Errorf("locking PostgreSQL's data directory: %w", err), dir.close())
	}

	if err := dir.stopOrphan(ctx, cfg.Logger); err != nil {
		return nil, errors.Join(err, lock.Close())
	}

	return dir, nil
}

// create makes the directory, or a temporary one in it.
func (d *dataDir) create() error {
	path, err := filepath.Abs(d.path) // it is the programs' working directory, and among their arguments
	if err != nil {
		return err
	}

	d.path = path

	if !d.temporary {
		return os.MkdirAll(d.path, 0o755) //nolint:gosec // the account must be able to pass through
	}

	if d.path, err = os.MkdirTemp(d.path, temporaryPrefix); err != nil {
		return err
	}

	// What is inside has its own mode.
	return os.Chmod(d.path, 0o711) //nolint:gosec // the account must be able to pass through
}

// close gives the directory up and removes a temporary one.
func (d *dataDir) close() error {
	var err error

	if d.temporary {
		err = os.RemoveAll(d.path)
	}

	return errors.Join(err, d.lock.Close())
}

// major is the version of PostgreSQL that the data belongs to, 0 if there is
// none yet.
func (d *dataDir) major() (int, error) {
	content, err := os.ReadFile(filepath.Join(d.pgdata(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}

	if err != nil {
		return 0, fmt.Errorf("reading the data's version: %w", err)
	}

	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("reading the data's version: %w", err)
	}

	return major, nil
}

// prepare runs initdb if there is no data yet, and returns the password.
func (d *dataDir) prepare(ctx context.Context, bin *binaries, noSync bool) (string, error) {
	passwordPath := filepath.Join(d.path, "password")

	if _, err := os.Stat(d.pgdata()); err == nil {
		password, err := os.ReadFile(passwordPath)
		if err != nil {
			return "", fmt.Errorf("reading the data's password: %w", err)
		}

		return strings.TrimSpace(string(password)), nil
	}

	password := rand.Text()
	if err := os.WriteFile(passwordPath, []byte(password+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("storing the password: %w", err)
	}

	if err := d.initialize(ctx, bin, password, noSync); err != nil {
		return "", fmt.Errorf("creating the database files: %w", err)
	}

	return password, nil
}

// initialize runs initdb in a directory of another name, so that a pgdata that
// exists is complete however the program ends.
func (d *dataDir) initialize(ctx context.Context, bin *binaries, password string, noSync bool) error {
	unfinished := filepath.Join(d.path, "pgdata.unfinished")

	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}

	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err
	}

	if err := d.account.own(unfinished); err != nil {
		return err
	}

	// The account can't read the password's own file, so initdb gets a copy.
	copied := filepath.Join(d.path, "password.initdb")
	defer func() { _ = os.Remove(copied) }()

	if err := errors.Join(os.WriteFile(copied, []byte(password+"\n"), 0o600), d.account.own(copied)); err != nil {
		return err
	}

	args := []string{
		"--pgdata=" + unfinished, "--username=" + superuser, "--pwfile=" + copied,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions",
	}
	if noSync {
		args = append(args, "--no-sync")
	}

	initdb, err := d.run(bin.path("initdb"), args, syscall.SIGTERM)
	if err != nil {
		return err
	}

	select {
	case <-ctx.Done():
		_ = initdb.stop() // what a killed one leaves, the next run removes

		return context.Cause(ctx)
	case <-initdb.done:
	}

	if initdb.err != nil {
		return fmt.Errorf("running initdb: %w: %s", initdb.err, d.logTail())
	}

	return os.Rename(unfinished, d.pgdata())
}

// launch starts the server. Unix sockets are off: their paths have a limit of
// some 100 bytes, and one way in is enough.
func (d *dataDir) launch(bin *binaries, port int, parameters map[string]string) (*process, error) {
	settings := map[string]string{
		"timezone":        "UTC",
		"log_timezone":    "UTC",
		"log_checkpoints": "off",
	}
	maps.Copy(settings, parameters)
	maps.Copy(settings, map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": "",
		"cluster_name":            clusterName,
		"log_destination":         "stderr",
	})

	args := []string{"-D", d.pgdata()}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}

	return d.run(bin.path(serverProgram), args, syscall.SIGINT)
}

// run starts one of PostgreSQL's programs with its output in the log.
func (d *dataDir) run(program string, args []string, deathSignal syscall.Signal) (*process, error) {
	log, err := os.OpenFile(d.logPath(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening PostgreSQL's log: %w", err)
	}
	defer func() { _ = log.Close() }()

	//nolint:gosec // the programs are the ones that were looked for
	cmd := exec.Command(program, args...) //nolint:noctx // the server outlives the start's context
	cmd.Dir = d.path
	cmd.Stdout = log
	cmd.Stderr = log

	started, err := startProcess(cmd, d.account, deathSignal)
	if errors.Is(err, fs.ErrPermission) {
		if dir := d.account.blocked(d.path); dir != "" {
			return nil, fmt.Errorf("%s, who runs PostgreSQL, cannot enter %s: choose another data directory", d.account, dir)
		}
	}

	return started, err
}
