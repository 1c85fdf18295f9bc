package devpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is who runs the server.
type account struct {
	name     string
	uid, gid uint32
	other    bool // than the program's own
}

func (a *account) String() string { return a.name }

// serverAccount returns the program's own account, or for root, whom PostgreSQL
// refuses, an unprivileged one.
func serverAccount() (*account, error) {
	if uid := os.Geteuid(); uid != 0 {
		//nolint:gosec // ids are of 32 bits
		return &account{name: "user " + strconv.Itoa(uid), uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}

	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}

		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)

		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("reading the ids of %q: %w", name, err)
		}

		return &account{name: "user " + name, uid: uint32(uid), gid: uint32(gid), other: true}, nil
	}

	return nil, errors.New("PostgreSQL doesn't run as root, and there is neither a user postgres nor a user nobody")
}

// owning returns the account that owns the files of an older run if that may
// run the server, and else a.
func (a *account) owning(path string) *account {
	info, err := os.Lstat(path)
	if err != nil || !a.other {
		return a
	}

	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 || stat.Uid == a.uid {
		return a
	}

	return &account{name: fmt.Sprintf("user %d", stat.Uid), uid: stat.Uid, gid: stat.Gid, other: true}
}

// blocked returns the first directory on the way into path that the account may
// not enter, and "" if there is none. It looks at plain modes only.
func (a *account) blocked(path string) string {
	if !a.other {
		return ""
	}

	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}

	for dir := resolved; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && !a.mayEnter(info) {
			return dir
		}

		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

func (a *account) mayEnter(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}

	execute := fs.FileMode(0o001)

	switch {
	case stat.Uid == a.uid:
		execute = 0o100
	case stat.Gid == a.gid:
		execute = 0o010
	}

	return info.Mode()&execute != 0
}

// own gives a file or directory to the account.
func (a *account) own(path string) error {
	if !a.other {
		return nil
	}

	if err := os.Lchown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("giving PostgreSQL's files to %s: %w", a, err)
	}

	return nil
}

// DefaultDataDir returns where this user's development data is kept. It is not
// root's home for root, which the account that runs the server can't enter.
func DefaultDataDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/webhook-worker/dev", nil
	}

	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "webhook-worker", "dev"), nil
	}

	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", errors.New("choosing a directory for PostgreSQL's data: neither XDG_DATA_HOME nor HOME is set")
	}

	return filepath.Join(home, ".local", "share", "webhook-worker", "dev"), nil
}

// DefaultCacheDir returns where a PostgreSQL that this user downloaded is kept.
func DefaultCacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/webhook-worker/postgresql", nil
	}

	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("choosing a directory for PostgreSQL's programs: %w", err)
	}

	return filepath.Join(dir, "webhook-worker", "postgresql"), nil
}
