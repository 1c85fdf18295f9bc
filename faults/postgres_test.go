//go:build faults

package faults

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/devpg"
	"github.com/epicvoice/webhook-worker/internal/testport"
	"github.com/epicvoice/webhook-worker/migrations"
)

const databaseName = "postgres"

// postgres is a world's own server. It can be stopped and started on the same data and port.
type postgres struct {
	cfg devpg.Config

	mu     sync.Mutex
	server *devpg.Server
}

// newPostgres starts a server on a copy of the migrated template, with fsync as in production.
func newPostgres(t *testing.T, s *setting) *postgres {
	t.Helper()
	template, err := template()
	require.NoError(t, err)
	dir, err := os.MkdirTemp(shared.dir, "data-") //nolint:usetesting // the account that runs PostgreSQL can't enter t.TempDir
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711))
	output, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(template, "pgdata"), filepath.Join(template, "password"), dir).CombinedOutput()
	require.NoError(t, err, string(output))

	p := &postgres{cfg: devpg.Config{DataDir: dir, Port: testport.Free(t), BinDirs: s.binDirs, Parameters: map[string]string{
		"shared_buffers": "32MB",
		"max_wal_size":   "256MB",
	}}}
	maps.Copy(p.cfg.Parameters, s.postgres)
	p.start(t)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "postgres.log"))
			t.Logf("PostgreSQL: %s", tail(string(log), 20))
		}
		_ = p.server.Stop()
		_ = os.RemoveAll(dir)
	})
	return p
}

// template makes a migrated data directory once, because initdb takes longer than a copy.
var template = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := filepath.Join(shared.dir, "template")
	server, err := devpg.Start(ctx, &devpg.Config{DataDir: dir})
	if err != nil {
		return "", err
	}
	defer func() { _ = server.Stop() }()
	pool, err := pgxpool.New(ctx, server.URL(databaseName))
	if err != nil {
		return "", fmt.Errorf("connecting to the template: %w", err)
	}
	defer pool.Close()
	if err := migrations.Up(ctx, pool, slog.New(slog.DiscardHandler)); err != nil {
		return "", err
	}
	return dir, server.Stop()
})

// url is the server's, which stays the same over stops and starts.
func (p *postgres) url() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.server.URL(databaseName)
}

func (p *postgres) address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.cfg.Port))
}

// start starts the server and returns when it answers.
func (p *postgres) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	server, err := devpg.Start(ctx, &p.cfg)
	require.NoError(t, err)
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
}

// stop ends the server: connections are cut, and a checkpoint is written.
func (p *postgres) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, p.server.Stop())
}

// crash ends the server at once, as a power cut does: the next start recovers.
func (p *postgres) crash(t *testing.T) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(p.cfg.DataDir, "pgdata", "postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGQUIT))
	select {
	case <-p.server.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("PostgreSQL does not stop")
	}
	_ = p.server.Stop() // gives the directory up, and says that the server had ended
}

// exec runs a statement on a connection of its own.
func (p *postgres) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	conn := p.connect(t)
	defer closeConn(conn)
	_, err := conn.Exec(context.Background(), sql, args...)
	require.NoError(t, err)
}

// connect opens a connection that is closed with the test, or earlier.
func (p *postgres) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.url())
	require.NoError(t, err)
	t.Cleanup(func() { closeConn(conn) })
	return conn
}

// closeConn may be called again.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// lock holds an exclusive lock on a table until release.
func (p *postgres) lock(t *testing.T, table string) (release func()) {
	t.Helper()
	conn := p.connect(t)
	_, err := conn.Exec(context.Background(), `begin`)
	require.NoError(t, err)
	_, err = conn.Exec(context.Background(), `lock table `+table+` in access exclusive mode`)
	require.NoError(t, err)
	return func() { closeConn(conn) }
}

// readOnly makes every new transaction read-only, or no longer.
func (p *postgres) readOnly(t *testing.T, on bool) {
	t.Helper()
	p.exec(t, fmt.Sprintf(`alter system set default_transaction_read_only = %t`, on))
	p.exec(t, `select pg_reload_conf()`)
}

// terminateWorkers ends all connections of worker processes, and says how many there were.
func (p *postgres) terminateWorkers(t *testing.T) int {
	t.Helper()
	conn := p.connect(t)
	defer closeConn(conn)
	var ended int
	require.NoError(t, conn.QueryRow(context.Background(), `
		select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'webhook-worker%'`).Scan(&ended))
	return ended
}

// logFull makes every write to the attempt log fail as on a full disk, or no longer.
func (p *postgres) logFull(t *testing.T, on bool) {
	t.Helper()
	if !on {
		p.exec(t, `drop trigger faults_full on webhook_delivery_log`)
		return
	}
	p.exec(t, `
		create or replace function faults_full() returns trigger language plpgsql as $$
		begin
		    raise exception 'could not extend file: no space left on device' using errcode = 'disk_full';
		end $$`)
	p.exec(t, `create trigger faults_full before insert or update on webhook_delivery_log for each statement execute function faults_full()`)
}
