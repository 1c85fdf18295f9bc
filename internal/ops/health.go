package ops

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/epicvoice/webhook-worker/internal/config"
)

// HealthConfig is what Health answers with.
type HealthConfig struct {
	Addr     config.HealthAddr // empty: it answers nowhere
	Instance string
	Alive    func() error                    // why the worker is stuck; must not block
	Ready    func() error                    // why it takes no deliveries; must not block
	Schema   func(ctx context.Context) error // what is wrong with the database's schema
	Metrics  http.Handler                    // answers /metrics; nil: nothing does
}

// Health answers for a worker: /healthz whether it makes progress or is idle, /readyz whether it takes deliveries.
type Health struct {
	http    *http.Server // nil: it answers nowhere
	serving sync.WaitGroup
}

// NewHealth answers until it is closed.
func NewHealth(ctx context.Context, cfg *HealthConfig) (*Health, error) {
	network, address, err := cfg.Addr.Of(cfg.Instance)
	if err != nil {
		return nil, err
	}
	if network == "" {
		return &Health{}, nil
	}
	if network == "unix" {
		if err := removeStale(ctx, address); err != nil {
			return nil, err
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("listening on WORKER_HEALTH_ADDR: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", respond(func(context.Context) error { return cfg.Alive() }))
	schema := remembered(func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		return cfg.Schema(bounded)
	})
	mux.HandleFunc("GET /readyz", respond(func(ctx context.Context) error {
		if err := cfg.Ready(); err != nil {
			return err
		}
		return schema(ctx)
	}))
	if cfg.Metrics != nil {
		mux.Handle("GET /metrics", cfg.Metrics)
	}
	health := &Health{http: &http.Server{
		Handler: mux, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: readTimeout, IdleTimeout: idleTimeout,
	}}
	health.serving.Go(func() { _ = health.http.Serve(listener) })
	return health, nil
}

// removeStale removes the socket that a killed worker of this instance left, which is in the way.
func removeStale(ctx context.Context, path string) error {
	if conn, err := new(net.Dialer).DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("listening on WORKER_HEALTH_ADDR: another worker answers at %s: give each an --instance of its own", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(path) // or listening says what is wrong
	}
	return nil
}

// Close stops answering.
func (h *Health) Close() {
	if h.http != nil {
		_ = h.http.Close()
		h.serving.Wait()
	}
}

// remembered is a check whose answer stands for a second, so that whoever asks without end does not keep the
// database busy.
func remembered(check func(ctx context.Context) error) func(ctx context.Context) error {
	var (
		mu     sync.Mutex
		answer error
		until  time.Time
	)
	return func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().After(until) {
			answer = check(context.WithoutCancel(ctx)) // it is for others too
			until = time.Now().Add(time.Second)
		}
		return answer
	}
}

// respond answers 200, or 503 with what is wrong.
func respond(check func(ctx context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := check(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	}
}
