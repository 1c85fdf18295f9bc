package devpg

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestServer(t *testing.T) {
	t.Parallel()

	server, err := Start(t.Context(), &Config{Parameters: map[string]string{"fsync": "off", "work_mem": "5MB"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })

	for setting, want := range map[string]string{
		"server_encoding": "UTF8", "lc_collate": "C", "timezone": "UTC", "listen_addresses": "127.0.0.1",
		"unix_socket_directories": "", "password_encryption": "scram-sha-256", "work_mem": "5MB", "fsync": "off",
	} {
		// Since PostgreSQL 16 the locale is no setting but a column.
		sql := "select coalesce(current_setting('" + setting + "', true), 'C')"
		require.Equal(t, want, query(t, server, sql), setting)
	}

	require.Equal(t, "1", query(t, server, "select count(*)::text from pg_hba_file_rules where type = 'local' "+
		"and auth_method = 'scram-sha-256' and database = '{all}'"))

	select {
	case <-server.Done():
		require.Fail(t, "the server has ended")
	default:
	}

	require.NoError(t, server.Stop())
	require.NoError(t, server.Stop(), "it may be stopped twice")
	<-server.Done()
	require.NoDirExists(t, server.DataDir())
}

func TestPasswordIsRequired(t *testing.T) {
	t.Parallel()

	server := start(t, &Config{DataDir: newDir(t)})

	u, err := url.Parse(server.URL("postgres"))
	require.NoError(t, err)

	u.User = url.UserPassword(superuser, "guess")
	_, err = pgx.Connect(t.Context(), u.String())
	require.ErrorContains(t, err, "28P01")

	info, err := os.Stat(filepath.Join(server.DataDir(), "password"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	entries, err := filepath.Glob(filepath.Join(server.DataDir(), "password*"))
	require.NoError(t, err)
	require.Len(t, entries, 1, "initdb's copy is gone")
}

func TestDataSurvives(t *testing.T) {
	t.Parallel()

	// A directory that has yet to be created, of a name that needs no quoting
	// by accident only.
	dir := filepath.Join(newDir(t), "a b", "d'ata")

	first := start(t, &Config{DataDir: dir})
	execute(t, first, "create table kept as select 'here' as word")
	require.NoError(t, first.Stop())

	second := start(t, &Config{DataDir: dir})
	require.Equal(t, "here", query(t, second, "select word from kept"))
}

func TestTwoServers(t *testing.T) {
	t.Parallel()

	first, second := start(t, &Config{}), start(t, &Config{})

	require.NotEqual(t, first.port, second.port)
	require.NotEqual(t, first.password, second.password)
	execute(t, first, "create table only_here ()")
	require.Equal(t, "0", query(t, second, "select count(*)::text from pg_tables where tablename = 'only_here'"))
}

func TestUnfinishedInitdb(t *testing.T) {
	t.Parallel()

	dir := newDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "pgdata.unfinished", "base"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "password"), []byte("of then"), 0o600))

	require.NotEmpty(t, query(t, start(t, &Config{DataDir: dir}), "select version()"))
}

func TestServerThatEndsAtOnce(t *testing.T) {
	t.Parallel()

	dir := newDir(t)
	_, err := Start(t.Context(), &Config{DataDir: dir, Parameters: map[string]string{"fsync": "off", "work_mem": "much"}})
	requireOneLine(t, err)
	require.ErrorContains(t, err, dir)
	require.ErrorContains(t, err, `invalid value for parameter "work_mem": "much"`)

	// It left no lock.
	start(t, &Config{DataDir: dir})
}

func TestServerThatEndsLater(t *testing.T) {
	t.Parallel()

	server, err := Start(t.Context(), &Config{Parameters: fast()})
	require.NoError(t, err)
	require.NoError(t, server.process.stop())
	<-server.Done()
	require.ErrorContains(t, server.Stop(), "had ended before it was stopped")
}

func TestPortTaken(t *testing.T) {
	t.Parallel()

	server := start(t, &Config{DataDir: newDir(t)})
	require.NoError(t, server.process.stop())

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)

	defer func() { _ = listener.Close() }()

	bin, err := findBinaries(t.Context(), (&Config{}).WithDefaults(), server.dir.account, 0)
	require.NoError(t, err)

	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)

	number, err := strconv.Atoi(port)
	require.NoError(t, err)

	started, err := server.dir.launch(bin, number, nil)
	require.NoError(t, err)

	<-started.done
	require.True(t, server.dir.exitIsPassing(), server.dir.logTail())

	// And on to another port.
	require.NoError(t, server.launch(t.Context(), bin, &Config{Parameters: fast()}))
}

func TestCancelledStart(t *testing.T) {
	t.Parallel()

	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	dir := newDir(t)
	_, err := Start(ctx, &Config{DataDir: dir})
	require.ErrorIs(t, err, context.Canceled)

	start(t, &Config{DataDir: dir})
}

func TestOtherMajor(t *testing.T) {
	t.Parallel()

	dir := newDir(t)
	pgdata := filepath.Join(dir, "pgdata")
	require.NoError(t, os.Mkdir(pgdata, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(pgdata, "PG_VERSION"), []byte("14\n"), 0o600))

	acct, err := serverAccount()
	require.NoError(t, err)

	bin, err := findBinaries(t.Context(), (&Config{}).WithDefaults(), acct, 0)
	require.NoError(t, err)

	_, err = Start(t.Context(), &Config{DataDir: dir})
	requireOneLine(t, err)
	require.ErrorContains(t, err, dir)
	require.ErrorContains(t, err, "data of PostgreSQL 14")
	require.ErrorContains(t, err, "are PostgreSQL "+strconv.Itoa(bin.major))
	require.ErrorContains(t, err, "install PostgreSQL 14, or delete the directory")

	_, err = Start(t.Context(), &Config{DataDir: dir, BinDirs: []string{}, CacheDir: newDir(t)})
	requireOneLine(t, err)
	require.ErrorContains(t, err, "data of PostgreSQL 14, which is neither installed nor downloadable")
}
