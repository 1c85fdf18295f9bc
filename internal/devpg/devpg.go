// Package devpg runs a private PostgreSQL server as a child of the program,
// for development and for tests. It needs nothing but Go: it takes the
// PostgreSQL that is installed, and downloads one where none is. The server
// listens on 127.0.0.1 only, asks for a random password, and stops with the
// program, even when the program is killed.
//
// It is no place for data that matters: a production database has backups and
// an operator.
package devpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	superuser = "postgres"

	// The bounds of a start and of each step of a stop.
	startTimeout = 30 * time.Second
	fastTimeout  = 10 * time.Second
	quitTimeout  = 5 * time.Second

	// A start is tried again when another program took the port first, or when
	// the processes of a killed predecessor still hold its shared memory.
	startTries    = 20
	startTryPause = 250 * time.Millisecond
)

// Config says where and how the server runs. The zero value is a server on a
// temporary directory, with PostgreSQL's own settings.
type Config struct {
	// DataDir is kept between runs. Empty: a temporary directory, which Stop
	// removes.
	DataDir string

	// TempDir is where the temporary directory is made. Empty, or not open to
	// the account that runs the server: the system's directory for those.
	TempDir string

	// Port of 127.0.0.1 that the server listens on. 0: a free one.
	Port int

	// Parameters are extra settings as in postgresql.conf. With fsync=off the
	// files of a new data directory aren't synced either.
	Parameters map[string]string

	// Logger tells what is started, downloaded and cleaned up. Nil: silence.
	Logger *slog.Logger

	// BinDirs are the directories that are searched for the postgres and initdb
	// programs, in this order. Nil: DefaultBinDirs. Empty but not nil: none, so
	// that PostgreSQL is downloaded.
	BinDirs []string

	// BinaryRepositoryURL is the Maven repository that PostgreSQL is downloaded
	// from. Empty: Maven Central.
	BinaryRepositoryURL string

	// CacheDir is where a downloaded PostgreSQL is kept. Empty: DefaultCacheDir.
	CacheDir string
}

// WithDefaults returns a copy with every setting filled in that has a default,
// except the directories, whose defaults depend on the user and are asked for
// when they are needed.
func (c *Config) WithDefaults() *Config {
	filled := Config{}
	if c != nil {
		filled = *c
	}

	if filled.Logger == nil {
		filled.Logger = slog.New(slog.DiscardHandler)
	}

	return &filled
}

// Server is a running PostgreSQL server. It must be stopped.
type Server struct {
	logger   *slog.Logger
	dir      *dataDir
	process  *process
	port     int
	password string

	stopOnce sync.Once
	stopErr  error
}

// Start starts a server and returns when it answers, after 30 s at the latest.
// ctx bounds the start only, including a download. A data directory that
// another program has a server on is an error, one whose program died is not.
func Start(ctx context.Context, cfg *Config) (*Server, error) {
	cfg = cfg.WithDefaults()

	acct, err := serverAccount()
	if err != nil {
		return nil, fmt.Errorf("choosing the account that runs PostgreSQL: %w", err)
	}

	dir, err := openDataDir(ctx, cfg, acct)
	if err != nil {
		return nil, err
	}

	server, err := startIn(ctx, cfg, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting PostgreSQL in %s: %w", dir.path, err), dir.close())
	}

	return server, nil
}

func startIn(ctx context.Context, cfg *Config, dir *dataDir) (*Server, error) {
	major, err := dir.major()
	if err != nil {
		return nil, err
	}

	bin, err := findBinaries(ctx, cfg, dir.account, major)
	if err != nil {
		return nil, err
	}

	if major != 0 && bin.major != major {
		return nil, fmt.Errorf("it holds data of PostgreSQL %d, and the programs found in %s are PostgreSQL %d: "+
			"install PostgreSQL %d, or delete the directory to begin anew", major, bin.dir, bin.major, major)
	}

	password, err := dir.prepare(ctx, bin, cfg.Parameters["fsync"] == "off")
	if err != nil {
		return nil, err
	}

	server := &Server{logger: cfg.Logger, dir: dir, password: password}
	if err := server.launch(ctx, bin, cfg); err != nil {
		return nil, err
	}

	cfg.Logger.InfoContext(ctx, "postgresql started", slog.String("data_dir", dir.path),
		slog.Int("port", server.port), slog.Int("pid", server.process.pid), slog.String("bin_dir", bin.dir))

	return server, nil
}

// URL returns the connection string of one of the server's databases, for the
// server's superuser.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, s.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}

	return u.String()
}

// DataDir returns the directory that holds the server's data, password and log.
func (s *Server) DataDir() string { return s.dir.path }

// Done is closed when the server has ended, whether by Stop or by itself.
func (s *Server) Done() <-chan struct{} { return s.process.done }

// Stop shuts the server down, which ends its connections, waits for it and
// removes a temporary directory. It takes a moment as a rule and 15 s at most;
// a server that had ended by itself is an error. It may be called repeatedly.
func (s *Server) Stop() error {
	s.stopOnce.Do(func() { s.stopErr = s.stop() })

	return s.stopErr
}

func (s *Server) stop() error {
	var err error

	select {
	case <-s.process.done:
		err = fmt.Errorf("PostgreSQL in %s had ended before it was stopped: %w: %s",
			s.dir.path, s.process.exitError(), s.dir.logTail())
	default:
		if err = s.process.stop(); err != nil {
			err = fmt.Errorf("stopping PostgreSQL in %s: %w", s.dir.path, err)
		}
	}

	if closeErr := s.dir.close(); closeErr != nil {
		err = errors.Join(err, closeErr)
	}

	s.logger.Info("postgresql stopped", slog.String("data_dir", s.dir.path))

	return err
}

// launch starts the server on the port that was asked for, or on a free one. That
// may be taken between the choice and the server's bind, so it chooses again then.
func (s *Server) launch(ctx context.Context, bin *binaries, cfg *Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("no answer within %s", startTimeout))
	defer cancel()

	for try := 1; ; try++ {
		port, err := cfg.Port, error(nil)
		if port == 0 {
			port, err = freePort(ctx)
		}

		if err != nil {
			return err
		}

		s.port = port

		s.process, err = s.dir.launch(bin, port, cfg.Parameters)
		if err != nil {
			return err
		}

		err = s.waitReady(ctx)
		if err == nil {
			return nil
		}

		stopErr := s.process.stop()

		if !errors.Is(err, errExited) {
			return errors.Join(err, stopErr)
		}

		if try == startTries || !s.dir.exitIsPassing() {
			return fmt.Errorf("%w: %s", err, s.dir.logTail())
		}

		if err := pause(ctx, startTryPause); err != nil {
			return err
		}
	}
}
