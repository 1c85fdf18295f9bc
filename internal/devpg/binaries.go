package devpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minMajor is the oldest PostgreSQL that the migrations support.
const minMajor = 15

// serverProgram is the name of the server's program.
const serverProgram = "postgres"

// binaries are a PostgreSQL's programs.
type binaries struct {
	dir   string
	major int
}

func (b *binaries) path(program string) string { return filepath.Join(b.dir, program) }

// findBinaries returns programs of the wanted major version if there are any,
// and otherwise the first that will do; wanted 0 means any. Those that were
// downloaded earlier come after those that are installed. It downloads when
// there are none at all.
func findBinaries(ctx context.Context, cfg *Config, acct *account, wanted int) (*binaries, error) {
	dirs := cfg.BinDirs
	if dirs == nil {
		dirs = DefaultBinDirs(ctx)
	}

	cacheDir, cacheErr := cfg.CacheDir, error(nil)
	if cacheDir == "" {
		cacheDir, cacheErr = DefaultCacheDir()
	}

	if cacheErr == nil {
		dirs = slices.Concat(dirs, downloadedBinDirs(cacheDir))
	}

	var first *binaries

	for _, dir := range dirs {
		found, err := inspect(ctx, dir)
		if err != nil || found.major < minMajor || acct.blocked(found.dir) != "" {
			continue
		}

		if wanted == 0 || found.major == wanted {
			return found, nil
		}

		if first == nil {
			first = found
		}
	}

	if ctx.Err() != nil { // then nothing was found because nothing ran
		return nil, context.Cause(ctx)
	}

	if first != nil {
		return first, nil
	}

	if cacheErr != nil {
		return nil, fmt.Errorf("no PostgreSQL %d or newer is installed: %w", minMajor, cacheErr)
	}

	return download(ctx, cfg, cacheDir, acct, wanted)
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect asks the programs in dir for their version.
func inspect(ctx context.Context, dir string) (*binaries, error) {
	found := &binaries{dir: dir}

	// Relative entries of PATH would change their meaning with the directory.
	if !filepath.IsAbs(dir) {
		return nil, errors.New("not an absolute path")
	}

	if _, err := os.Stat(found.path("initdb")); err != nil {
		return nil, fmt.Errorf("looking for initdb: %w", err)
	}

	// PATH often has links. What they lead to is what the account must reach.
	if linked, err := filepath.EvalSymlinks(found.path(serverProgram)); err == nil && filepath.Base(linked) == serverProgram {
		if _, err := os.Stat(filepath.Join(filepath.Dir(linked), "initdb")); err == nil {
			found.dir = filepath.Dir(linked)
		}
	}

	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()

	//nolint:gosec // the programs of PATH and of the system's folders are what is asked for
	output, err := exec.CommandContext(ctx, found.path(serverProgram), "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("asking postgres for its version: %w", err)
	}

	match := versionPattern.FindSubmatch(output)
	if match == nil {
		return nil, fmt.Errorf("no version in %q", output)
	}

	if found.major, err = strconv.Atoi(string(match[1])); err != nil {
		return nil, fmt.Errorf("reading the version in %q: %w", output, err)
	}

	return found, nil
}

// DefaultBinDirs returns where PostgreSQL's programs are looked for: PATH, the
// usual folders of the distributions and of Homebrew, MacPorts and Postgres.app
// with the newest version first, and what pg_config names.
func DefaultBinDirs(ctx context.Context) []string {
	dirs := filepath.SplitList(os.Getenv("PATH"))

	var versioned []string

	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
		"/usr/pgsql-*/bin",                  // PGDG on Red Hat and Fedora
		"/usr/lib/postgresql*/bin",          // openSUSE
		"/usr/lib64/postgresql-*/bin",       // Gentoo
		"/usr/libexec/postgresql*",          // Alpine
		"/opt/homebrew/opt/postgresql*/bin", // Homebrew on Apple silicon
		"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
		"/opt/local/lib/postgresql*/bin", // MacPorts
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/Library/PostgreSQL/*/bin", // EDB's installer
		"/opt/PostgreSQL/*/bin",
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well formed
		versioned = append(versioned, found...)
	}

	slices.SortStableFunc(versioned, func(a, b string) int { return cmp.Compare(pathVersion(b), pathVersion(a)) })
	dirs = append(dirs, versioned...)
	dirs = append(dirs, "/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin")

	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()

	if output, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(output)))
	}

	return dirs
}

var pathVersionPattern = regexp.MustCompile(`\d+(\.\d+)?`)

// pathVersion is the version that a path names, 0 for none.
func pathVersion(path string) float64 {
	version, err := strconv.ParseFloat(pathVersionPattern.FindString(path), 64)
	if err != nil {
		return 0
	}

	return version
}
