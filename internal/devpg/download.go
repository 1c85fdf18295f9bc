package devpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

const mavenCentral = "https://repo1.maven.org/maven2"

// downloadable returns the release that is downloaded for a major version, 0
// being any.
func downloadable(major int) (embeddedpostgres.PostgresVersion, bool) {
	version, ok := map[int]embeddedpostgres.PostgresVersion{
		0:  embeddedpostgres.V18,
		15: embeddedpostgres.V15,
		16: embeddedpostgres.V16,
		17: embeddedpostgres.V17,
		18: embeddedpostgres.V18,
	}[major]

	return version, ok
}

// downloadedBinDirs returns the programs of earlier downloads, newest first.
func downloadedBinDirs(cacheDir string) []string {
	dirs, _ := filepath.Glob(filepath.Join(cacheDir, "*", "bin")) // nothing matches a malformed name
	slices.SortFunc(dirs, func(a, b string) int {
		return int(pathVersion(filepath.Base(filepath.Dir(b))) - pathVersion(filepath.Base(filepath.Dir(a))))
	})

	return dirs
}

// download fetches PostgreSQL into the cache, once even if several programs
// want it at the same time.
func download(ctx context.Context, cfg *Config, cacheDir string, acct *account, major int) (*binaries, error) {
	version, ok := downloadable(major)
	if !ok {
		return nil, fmt.Errorf("it holds data of PostgreSQL %d, which is neither installed nor downloadable: "+
			"install PostgreSQL %d, or delete the directory to begin anew", major, major)
	}

	repository := cfg.BinaryRepositoryURL
	if repository == "" {
		repository = mavenCentral
	}

	//nolint:gosec // the account that runs the server reads the programs
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return nil, fmt.Errorf("creating the directory for PostgreSQL's programs: %w", err)
	}

	lock, err := waitLock(ctx, filepath.Join(cacheDir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("waiting for another program's download: %w", err)
	}
	defer func() { _ = lock.Close() }()

	target := filepath.Join(cacheDir, string(version))

	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		cfg.Logger.InfoContext(ctx, "downloading postgresql",
			slog.String("version", string(version)), slog.String("repository", repository))

		if err := fetch(ctx, repository, version, target); err != nil {
			return nil, fmt.Errorf("no PostgreSQL %d or newer is installed, and downloading %s from %s: %w",
				minMajor, version, repository, err)
		}
	}

	if dir := acct.blocked(target); dir != "" {
		return nil, fmt.Errorf("%s, who runs PostgreSQL, cannot enter %s", acct, dir)
	}

	found, err := inspect(ctx, filepath.Join(target, "bin"))
	if err != nil {
		return nil, fmt.Errorf("using the PostgreSQL downloaded to %s: %w", target, err)
	}

	return found, nil
}

// fetch downloads, verifies and unpacks a release to target, which appears when
// it is complete. The caller holds the cache's lock.
func fetch(ctx context.Context, repository string, version embeddedpostgres.PostgresVersion, target string) error {
	leftovers, _ := filepath.Glob(filepath.Join(filepath.Dir(target), "unpack-*")) // of killed programs
	for _, dir := range leftovers {
		_ = os.RemoveAll(dir) // one that stays only takes space
	}

	scratch, err := os.MkdirTemp(filepath.Dir(target), "unpack-")
	if err != nil {
		return fmt.Errorf("creating a directory to unpack to: %w", err)
	}

	fetched := make(chan error, 1)

	// The library cannot be interrupted. If ctx ends first it goes on by itself,
	// and its directory goes with the program or at the next download.
	go func() { fetched <- unpack(repository, version, scratch) }()

	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err = <-fetched:
	}

	if err == nil {
		err = makeReadable(filepath.Join(scratch, "pg"))
	}

	if err == nil {
		err = os.Rename(filepath.Join(scratch, "pg"), target)
	}

	return errors.Join(err, os.RemoveAll(scratch))
}

// unpack uses embedded-postgres for what it does first at every start: fetch the
// archive, compare its checksum with the published one and unpack it. The
// library has no function for that alone, and can't run a server as root, so
// its start is made to end there: it is told to put its data below a file, an
// error before it runs any program. It creates the runtime directory after
// unpacking and removes it before, so that tells whether unpacking was complete.
// An empty embedded_postgres_log file stays in the system's temporary directory.
func unpack(repository string, version embeddedpostgres.PostgresVersion, scratch string) error {
	barrier := filepath.Join(scratch, "not-a-directory")
	if err := os.WriteFile(barrier, nil, 0o600); err != nil {
		return fmt.Errorf("writing to the directory to unpack to: %w", err)
	}

	runtimeDir := filepath.Join(scratch, "runtime")

	err := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).
		BinaryRepositoryURL(repository).
		CachePath(filepath.Join(scratch, "archive")).
		BinariesPath(filepath.Join(scratch, "pg")).
		RuntimePath(runtimeDir).
		DataPath(filepath.Join(barrier, "data")).
		Port(0). // it only checks that the port is free
		Logger(io.Discard)).Start()
	if err == nil {
		return errors.New("embedded-postgres started a server instead of only unpacking one")
	}

	if _, statErr := os.Stat(runtimeDir); statErr != nil {
		return err //nolint:wrapcheck // it is the caller's action that failed
	}

	return nil
}

// makeReadable lets the account that root runs the server as read the programs,
// whatever root's umask.
func makeReadable(root string) error {
	if os.Geteuid() != 0 {
		return nil
	}

	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}

		info, err := entry.Info()
		if err != nil {
			return err
		}

		mode := info.Mode().Perm() | 0o444
		if info.IsDir() || mode&0o100 != 0 {
			mode |= 0o555
		}

		return os.Chmod(path, mode) //nolint:gosec // nobody else can write here
	})
}

// waitLock takes a lock that goes with the program, waiting for it.
func waitLock(ctx context.Context, path string) (*os.File, error) {
	for {
		lock, err := tryLock(path)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return lock, err
		}

		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
