package jobs

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// quietFor is for how long nothing more is said of a database that is away, or back.
const quietFor = 10 * time.Second

// Why a runner is not ready.
var (
	errStarting = errors.New("the worker is starting")
	errStopping = errors.New("the worker is stopping")
	errSilent   = errors.New("the database does not answer")
	errRefused  = errors.New("the database refuses the worker: its log says why")
)

// errElsewhere is what two connection strings to different databases lead to.
var errElsewhere = errors.New("the worker's lock is not seen by its other connections: DATABASE_DIRECT_URL must reach the same database as DATABASE_URL")

// readiness is whether a runner takes deliveries.
type readiness struct {
	mu   sync.Mutex
	err  error     // nil: it does
	back time.Time // when the database came back the last time
}

func (r *readiness) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if isAway(r.err) && err == nil {
		r.back = time.Now()
	}
	r.err = err
}

// unready is what to tell others about why the database is of no use. The log has the details.
func unready(err error) error {
	switch {
	case errors.Is(err, errReadOnly), errors.Is(err, errElsewhere):
		return err
	case isServerError(err) && !isPassing(err):
		return errRefused
	}
	return errSilent
}

// isPassing says whether the server refuses because it starts, stops, or has no connection left.
func isPassing(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (strings.HasPrefix(pgErr.Code, "57P") || pgErr.Code == "53300")
}

// away says whether the database is, or has just come back: the session before then still speaks of it.
func (r *readiness) away() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return isAway(r.err) || time.Since(r.back) < quietFor
}

func isAway(err error) bool {
	return errors.Is(err, errSilent) || errors.Is(err, errReadOnly) || errors.Is(err, errRefused) || errors.Is(err, errElsewhere)
}

func (r *readiness) get() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
