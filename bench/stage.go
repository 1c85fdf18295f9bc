package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/epicvoice/webhook-worker/internal/devpg"
	"github.com/epicvoice/webhook-worker/partners"
)

// stage is what a benchmark runs on. Close takes it down.
type stage struct {
	database // the product's

	bare   *database // of the bare worker, with River's tables as River makes them
	lean   *database // of the bare worker too, with River's tables as the product has them
	dir    string    // for what is written on the way
	binary string
	env    []string // of the product
	url    string   // of the receiver
	server int      // process id of PostgreSQL

	postgres *devpg.Server
	keyring  *partners.Keyring

	closers
}

// newStage starts PostgreSQL, migrates, builds the binary, and receives webhooks with handler. PostgreSQL has its
// default settings, but for parameters.
func newStage(ctx context.Context, handler http.HandlerFunc, parameters map[string]string) (_ *stage, err error) {
	s := &stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()

	if s.postgres, err = devpg.Start(ctx, &devpg.Config{Parameters: parameters}); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.postgres.Stop)
	key := make([]byte, partners.KeySize)
	_, _ = rand.Read(key) // never fails
	if s.keyring, err = partners.NewKeyring(key); err != nil {
		return nil, err
	}
	product, err := s.newDatabase(ctx, "product")
	if err != nil {
		return nil, err
	}
	s.database = *product
	if s.bare, err = s.newBareDatabase(ctx, "bare"); err != nil {
		return nil, err
	}
	if s.lean, err = s.newLeanDatabase(ctx, "lean"); err != nil {
		return nil, err
	}
	if s.server, err = serverPID(ctx, s.pool); err != nil {
		return nil, err
	}
	s.env = append(os.Environ(),
		"DATABASE_URL="+s.dsn,
		"WEBHOOK_ENCRYPTION_KEY="+base64.StdEncoding.EncodeToString(key),
		"WEBHOOK_ALLOW_HTTP=true",
		"WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8",
	)
	if err := s.build(ctx); err != nil {
		return nil, err
	}
	return s, s.receive(ctx, handler)
}

// clear empties the queues and what runs before have left.
func (s *stage) clear(ctx context.Context) error {
	return errors.Join(empty(ctx, s.pool), empty(ctx, s.bare.pool), empty(ctx, s.lean.pool))
}

// tidy does what a server does in time, in the databases of the product and of the bare worker.
func (s *stage) tidy(ctx context.Context) error {
	return errors.Join(tidy(ctx, s.pool), tidy(ctx, s.bare.pool), tidy(ctx, s.lean.pool))
}

// spent is CPU time.
type spent struct{ server, own time.Duration }

// cpu is the CPU time so far of PostgreSQL and of this process.
func (s *stage) cpu() (spent, error) {
	server, err := treeCPU(s.server)
	if err != nil {
		return spent{}, err
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return spent{}, fmt.Errorf("reading the CPU time: %w", err)
	}
	return spent{server: server, own: time.Duration(own.Utime.Nano() + own.Stime.Nano())}, nil
}

// closers are what stops what was started.
type closers []func() error

// Close stops it, the last first.
func (c *closers) Close() error {
	var err error
	for _, stop := range slices.Backward(*c) {
		err = errors.Join(err, stop())
	}
	return err
}

func (s *stage) build(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "webhook-worker-bench-"); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	s.closers = append(s.closers, func() error { return os.RemoveAll(s.dir) })
	s.binary = filepath.Join(s.dir, "webhook-worker")
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
