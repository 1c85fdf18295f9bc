package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/internal/devpg"
	"github.com/epicvoice/webhook-worker/migrations"
	"github.com/epicvoice/webhook-worker/partners"
)

const benchUser = "bench"

// stage is what a benchmark runs on. Close takes it down.
type stage struct {
	pool   *pgxpool.Pool
	store  *partners.Store
	binary string
	env    []string
	url    string // of the receiver

	closers
}

// newStage starts PostgreSQL, migrates, builds the binary, and receives webhooks with handler.
func newStage(ctx context.Context, handler http.HandlerFunc) (_ *stage, err error) {
	s := &stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()

	server, err := devpg.Start(ctx, &devpg.Config{})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, server.Stop)
	if s.pool, err = pgxpool.New(ctx, server.URL("postgres")); err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	s.closers = append(s.closers, func() error { s.pool.Close(); return nil })
	if err := migrations.Up(ctx, s.pool, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}

	key := make([]byte, partners.KeySize)
	_, _ = rand.Read(key) // never fails
	keyring, err := partners.NewKeyring(key)
	if err != nil {
		return nil, err
	}
	s.store = partners.NewStore(&partners.StoreConfig{Pool: s.pool, Keyring: keyring, AllowHTTP: true})
	s.env = append(os.Environ(),
		"DATABASE_URL="+server.URL("postgres"),
		"WEBHOOK_ENCRYPTION_KEY="+base64.StdEncoding.EncodeToString(key),
		"WEBHOOK_ALLOW_HTTP=true",
		"WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8",
	)
	if err := s.build(ctx); err != nil {
		return nil, err
	}
	return s, s.receive(ctx, handler)
}

// closers are what stops what was started.
type closers []func() error

// Close stops it, the last first.
func (c closers) Close() error {
	var err error
	for _, stop := range slices.Backward(c) {
		err = errors.Join(err, stop())
	}
	return err
}

func (s *stage) build(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "webhook-worker-bench-")
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	s.closers = append(s.closers, func() error { return os.RemoveAll(dir) })
	s.binary = filepath.Join(dir, "webhook-worker")
	build := exec.CommandContext(ctx, "go", "build", "-o", s.binary, "github.com/epicvoice/webhook-worker/cmd/webhook-worker") //nolint:gosec // a path of our own
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the binary: %w: %s", err, output)
	}
	return nil
}

func (s *stage) receive(ctx context.Context, handler http.HandlerFunc) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	s.url = "http://" + listener.Addr().String() + "/"
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	s.closers = append(s.closers, server.Close)
	go func() { _ = server.Serve(listener) }()
	return nil
}

// startWorker starts one worker process, which logs warnings and worse, and returns what stops it; Close
// stops it too.
func (s *stage) startWorker(instance string, environ ...string) (stop func() error, err error) {
	worker := exec.Command(s.binary, "work", "--instance", instance) //nolint:gosec,noctx // a path of our own; stopped by its closer
	worker.Env = append(append(slices.Clone(s.env), "LOG_LEVEL=WARNING"), environ...)
	worker.Stderr = os.Stderr
	if err := worker.Start(); err != nil {
		return nil, fmt.Errorf("starting a worker: %w", err)
	}
	stop = sync.OnceValue(func() error {
		if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("stopping a worker: %w", err)
		}
		if err := worker.Wait(); err != nil {
			return fmt.Errorf("worker: %w", err)
		}
		return nil
	})
	s.closers = append(s.closers, stop)
	return stop, nil
}
