package devpg

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository is a Maven repository that has one archive under every name.
type repository struct {
	*httptest.Server

	requests atomic.Int64
	checksum string

	mu    sync.Mutex
	paths []string
}

func newRepository(t *testing.T, jar []byte) *repository {
	t.Helper()

	sum := sha256.Sum256(jar)
	repo := &repository{checksum: hex.EncodeToString(sum[:])}

	repo.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repo.requests.Add(1)
		repo.mu.Lock()
		repo.paths = append(repo.paths, r.URL.Path)
		repo.mu.Unlock()

		if strings.HasSuffix(r.URL.Path, ".sha256") {
			_, _ = w.Write([]byte(repo.checksum))
		} else {
			_, _ = w.Write(jar)
		}
	}))
	t.Cleanup(repo.Close)

	return repo
}

// newJar packs the PostgreSQL that is installed the way the published archives
// are: a jar with a tar.xz of bin, lib and share. Programs look for lib and share
// where they were relative to bin when they were built, if they are there, and
// else where they were: that is how distributions' share is found.
func newJar(t *testing.T) []byte {
	t.Helper()

	acct, err := serverAccount()
	require.NoError(t, err)

	bin, err := findBinaries(t.Context(), (&Config{}).WithDefaults(), acct, 0)
	require.NoError(t, err)

	prefix := filepath.Dir(bin.dir)
	args := []string{
		"-C", prefix, "--exclude=bitcode", "-chJf", "-",
		"bin/postgres", "bin/initdb", "bin/pg_ctl",
	}

	if !slices.Contains([]string{"/usr", "/usr/local"}, prefix) { // where they would hold much else
		for _, name := range []string{"lib", "share"} {
			if _, err := os.Stat(filepath.Join(prefix, name)); err == nil {
				args = append(args, name)
			}
		}
	}

	tar := exec.CommandContext(t.Context(), "tar", args...)
	tar.Env = append(os.Environ(), "XZ_OPT=-0", "XZ_DEFAULTS=")
	packed, err := tar.Output()
	require.NoError(t, err)

	var jar bytes.Buffer

	archive := zip.NewWriter(&jar)
	file, err := archive.Create("postgres-linux-x86_64.txz")
	require.NoError(t, err)

	_, err = file.Write(packed)
	require.NoError(t, err)
	require.NoError(t, archive.Close())

	return jar.Bytes()
}

func TestDownload(t *testing.T) {
	t.Parallel()

	jar := newJar(t)

	t.Run("once for all starts", func(t *testing.T) {
		t.Parallel()

		repo := newRepository(t, jar)
		cache, dir := newDir(t), newDir(t)
		cfg := Config{
			DataDir: dir, CacheDir: cache, BinDirs: []string{}, BinaryRepositoryURL: repo.URL, Parameters: fast(),
		}

		server := start(t, &cfg)
		require.Regexp(t, "^PostgreSQL", query(t, server, "select version()"))
		require.NoError(t, server.Stop())

		require.EqualValues(t, 2, repo.requests.Load(), "an archive and its checksum: %s", repo.paths)
		require.Regexp(t, `^/io/zonky/test/postgres/embedded-postgres-binaries-.*\.jar$`, repo.paths[0])
		require.Equal(t, repo.paths[0]+".sha256", repo.paths[1])

		entries, err := os.ReadDir(cache)
		require.NoError(t, err)
		require.Len(t, entries, 2, "the programs and the lock: %s", entries)

		// The same data, and other data, with nothing more from the network.
		start(t, &cfg)
		start(t, &Config{CacheDir: cache, BinDirs: []string{}, BinaryRepositoryURL: repo.URL})
		require.EqualValues(t, 2, repo.requests.Load())
	})

	t.Run("once for all programs", func(t *testing.T) {
		t.Parallel()

		repo := newRepository(t, jar)
		cfg := &Config{CacheDir: newDir(t), BinDirs: []string{}, BinaryRepositoryURL: repo.URL}

		acct, err := serverAccount()
		require.NoError(t, err)

		errs := make(chan error)
		for range 3 {
			go func() {
				_, err := findBinaries(t.Context(), cfg.WithDefaults(), acct, 0)
				errs <- err
			}()
		}

		for range 3 {
			require.NoError(t, <-errs)
		}

		require.EqualValues(t, 2, repo.requests.Load())
	})

	t.Run("not what was published", func(t *testing.T) {
		t.Parallel()

		repo := newRepository(t, jar)
		repo.checksum = strings.Repeat("0", 64)
		cache := newDir(t)

		_, err := Start(t.Context(), &Config{CacheDir: cache, BinDirs: []string{}, BinaryRepositoryURL: repo.URL})
		requireOneLine(t, err)
		require.ErrorContains(t, err, "no PostgreSQL 15 or newer is installed, and downloading 18")
		require.ErrorContains(t, err, "from "+repo.URL+": downloaded checksums do not match")

		entries, err := os.ReadDir(cache)
		require.NoError(t, err)
		require.Len(t, entries, 1, "the lock: %s", entries)
	})

	t.Run("unreachable", func(t *testing.T) {
		t.Parallel()

		gone := httptest.NewServer(http.NotFoundHandler())
		gone.Close()

		_, err := Start(t.Context(), &Config{CacheDir: newDir(t), BinDirs: []string{}, BinaryRepositoryURL: gone.URL})
		requireOneLine(t, err)
		require.ErrorContains(t, err, "unable to connect to "+gone.URL)
	})
}
