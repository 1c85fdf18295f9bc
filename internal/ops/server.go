// Package ops serves the pages that operators look at.
package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/net/netutil"
	"riverqueue.com/riverui"
)

const (
	// uiPrefix is where River UI is mounted.
	uiPrefix = "/riverui"

	readTimeout     = 10 * time.Second
	writeTimeout    = 60 * time.Second
	idleTimeout     = 60 * time.Second
	shutdownTimeout = 5 * time.Second
	pingTimeout     = 3 * time.Second

	// maxHeaderBytes and maxBodyBytes are far more than River UI sends: 1,000 job ids are 25 KB.
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 64 << 10

	// maxConns bounds what clients can take of memory and file descriptors; more wait to be accepted.
	maxConns = 1000
)

// Config is what a Server needs.
type Config struct {
	Pool   *pgxpool.Pool
	Addr   string // HOST:PORT; port 0 is a free one
	Logger *slog.Logger

	User     string // empty: no credentials are asked for
	Password string // or its hash, as [password.Parse] reads it

	Certificate *Certificate // nil: no TLS
	BehindProxy bool         // something in front of it encrypts
	Hosts       []HostName   // names that are answered besides the address
	ReadOnly    bool         // nothing can be changed
}

// Server serves River UI under /riverui/ and a health check under /healthz.
type Server struct {
	listener net.Listener
	isTLS    bool
	name     string // for URLs, where the address is none that can be called
	http     *http.Server
	ui       *riverui.Handler
}

// NewServer listens. Its error wraps [ErrExposed] if the address is not a loopback one and there are no
// credentials, or nothing that encrypts.
func NewServer(ctx context.Context, cfg *Config) (*Server, error) {
	if err := cfg.checkExposure(); err != nil {
		return nil, err
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
	handler, err := cfg.handler(ui)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening for pages: %w", err)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug), // what clients do to their connections
	}
	if cfg.Certificate != nil {
		server.TLSConfig = cfg.Certificate.config()
	}
	name := "localhost"
	if len(cfg.Hosts) > 0 {
		name = string(cfg.Hosts[0])
	}
	return &Server{
		name:     name,
		listener: netutil.LimitListener(listener, maxConns),
		isTLS:    cfg.Certificate != nil,
		http:     server,
		ui:       ui,
	}, nil
}

// handler is all that is between the network and River UI, from the outside to the inside.
func (c *Config) handler(ui http.Handler) (http.Handler, error) {
	pages := http.NewServeMux()
	pages.Handle(uiPrefix+"/", ui)
	pages.Handle("/{$}", http.RedirectHandler(uiPrefix+"/", http.StatusSeeOther))

	protected := withMethods(c.ReadOnly, http.MaxBytesHandler(pages, maxBodyBytes))
	protected = http.NewCrossOriginProtection().Handler(protected)
	if c.User != "" {
		credentials, err := newCredentials(c)
		if err != nil {
			return nil, fmt.Errorf("reading the password of the pages: %w", err)
		}
		protected = credentials.protect(protected)
	}

	// Load balancers ask for the address of what they look for, or for any name, and have no credentials.
	mux := http.NewServeMux()
	mux.Handle("/", withHosts(c.Hosts, protected))
	ping := remembered(func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		if err := c.Pool.Ping(bounded); err != nil {
			return errors.New("the database does not answer")
		}
		return nil
	})
	mux.HandleFunc("GET /healthz", respond(ping))
	mux.HandleFunc("GET /readyz", respond(ping))
	return withHeaders(c.Certificate != nil, withRecovery(c.Logger, mux)), nil
}

// URL is where River UI is.
func (s *Server) URL() string {
	scheme := "http"
	if s.isTLS {
		scheme = "https"
	}
	return scheme + "://" + s.host() + uiPrefix + "/"
}

// host is the address, or where that is all of them a name that is answered.
func (s *Server) host() string {
	addr, ok := s.listener.Addr().(*net.TCPAddr)
	if !ok || !addr.IP.IsUnspecified() {
		return s.listener.Addr().String()
	}
	return net.JoinHostPort(s.name, strconv.Itoa(addr.Port))
}

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
	if err := s.serve(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving pages: %w", err)
	}
	<-drained // Serve returns when the shutdown begins
	return nil
}

func (s *Server) serve() error {
	if s.isTLS {
		return s.http.ServeTLS(s.listener, "", "")
	}
	return s.http.Serve(s.listener)
}
