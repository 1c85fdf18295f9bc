// Package ops serves the pages that operators look at.
package ops

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"riverqueue.com/riverui"
)

const (
	// uiPrefix is where River UI is mounted.
	uiPrefix = "/riverui"

	readTimeout     = 10 * time.Second
	writeTimeout    = 60 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 5 * time.Second
	maxHeaderBytes  = 64 << 10
	pingTimeout     = 3 * time.Second
)

// ErrExposed is returned for an address that others than this machine reach, if there are no credentials.
var ErrExposed = errors.New("pages that others can reach need credentials: set WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD, or listen on 127.0.0.1")

// Config is what a Server needs.
type Config struct {
	Pool     *pgxpool.Pool
	Addr     string // HOST:PORT; port 0 is a free one
	User     string // empty: no credentials are asked for
	Password string
	Logger   *slog.Logger
}

// Server serves River UI under /riverui/ and a health check under /healthz.
type Server struct {
	listener net.Listener
	http     *http.Server
	ui       *riverui.Handler
}

// NewServer listens. Its error wraps [ErrExposed] if the address is not a loopback one and there are no
// credentials.
func NewServer(ctx context.Context, cfg *Config) (*Server, error) {
	if cfg.User == "" && !isLoopback(cfg.Addr) {
		return nil, fmt.Errorf("listening on %s: %w", cfg.Addr, ErrExposed)
	}
	client, err := river.NewClient(riverpgxv5.New(cfg.Pool), &river.Config{Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("making a River client: %w", err)
	}
	ui, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(client, nil),
		Logger:    cfg.Logger,
		Prefix:    uiPrefix,
	})
	if err != nil {
		return nil, fmt.Errorf("making River UI: %w", err)
	}

	pages := http.NewServeMux()
	pages.Handle(uiPrefix+"/", ui)
	pages.Handle("/{$}", http.RedirectHandler(uiPrefix+"/", http.StatusSeeOther))

	mux := http.NewServeMux()
	mux.Handle("/", withCredentials(cfg, http.NewCrossOriginProtection().Handler(withHeaders(pages))))
	ping := func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		if err := cfg.Pool.Ping(bounded); err != nil {
			return errors.New("the database does not answer")
		}
		return nil
	}
	mux.HandleFunc("GET /healthz", respond(ping))
	mux.HandleFunc("GET /readyz", respond(ping))

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening for pages: %w", err)
	}
	return &Server{
		listener: listener,
		ui:       ui,
		http: &http.Server{
			Handler:           mux,
			ReadHeaderTimeout: readTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
		},
	}, nil
}

// URL is where River UI is.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + uiPrefix + "/" }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if err := s.ui.Start(ctx); err != nil {
		return errors.Join(fmt.Errorf("starting River UI: %w", err), s.listener.Close())
	}
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if s.http.Shutdown(bounded) != nil {
			_ = s.http.Close()
		}
	})
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving pages: %w", err)
	}
	<-drained // Serve returns when the shutdown begins
	return nil
}

// isLoopback says whether only this machine reaches an address.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// withCredentials asks for the configured user and password, and compares them in constant time.
func withCredentials(cfg *Config, next http.Handler) http.Handler {
	if cfg.User == "" {
		return next
	}
	wantUser, wantPassword := sha256.Sum256([]byte(cfg.User)), sha256.Sum256([]byte(cfg.Password))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		gotUser, gotPassword := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
		if subtle.ConstantTimeCompare(gotUser[:], wantUser[:])&subtle.ConstantTimeCompare(gotPassword[:], wantPassword[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="webhook-worker", charset="UTF-8"`)
			http.Error(w, "user and password, please", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// withHeaders keeps other sites from framing the pages and browsers from guessing types.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}
