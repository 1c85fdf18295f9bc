package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// writeTimeout bounds one batch's statement.
	writeTimeout = 10 * time.Second
	// maxUnwritten is how many outcomes wait for a database that does not take them, each of up to about
	// 20 KiB. When there are as many no POST begins.
	maxUnwritten = 2000
	// firstBackoff and maxBackoff bound the pause after a batch that could not be written.
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

var (
	errLogClosed  = errors.New("the attempt log is closed")
	errUnwritable = errors.New("the attempt log does not reach the database")
)

// AttemptLogConfig is what an AttemptLog needs.
type AttemptLogConfig struct {
	Pool      *pgxpool.Pool
	Logger    *slog.Logger
	BatchSize int // most rows in one statement

	metrics *metrics // nil: nothing is counted
}

// AttemptLog writes attempts to webhook_delivery_log by group commit: what gathers while one batch commits
// is the next batch, so that many deliveries share a commit and none waits for company.
//
// An intent that can't be written fails at once, and its POST is not made. An outcome that can't be
// written stays, in bounded memory, and is written when the database takes it.
type AttemptLog struct {
	pool      *pgxpool.Pool
	logger    *slog.Logger
	batchSize int
	metrics   *metrics
	failing   bool // the last batch could not be written; the writer's own

	mu        sync.Mutex
	changed   *sync.Cond // queue, unwritten or closed changed
	queue     []*logEntry
	unwritten int // outcomes that are queued or being written
	closed    bool
	urgent    chan struct{} // closed with the log: a pause after a failure ends
	finished  chan struct{} // closed when the writer has ended
	abandon   context.CancelFunc
}

// entryKind says what a logEntry does to its row.
type entryKind int

const (
	entryOpen     entryKind = iota // insert the intent
	entryRecord                    // insert a row that is closed already
	entryClose                     // write the outcome
	entryWithdraw                  // remove an intent whose POST was never made
)

// logEntry is one change of one row on its way to the database.
type logEntry struct {
	kind      entryKind
	attempt   Attempt
	written   chan error // receives once; buffered
	abandoned bool       // nobody waits for this intent any more; guarded by AttemptLog.mu
}

// kept says whether the entry waits for the database however long that takes.
func (e *logEntry) kept() bool { return e.kind != entryOpen }

// NewAttemptLog makes an AttemptLog and starts its writer. Call [AttemptLog.Close] at the end.
func NewAttemptLog(cfg *AttemptLogConfig) *AttemptLog {
	ctx, abandon := context.WithCancel(context.Background())
	log := &AttemptLog{
		pool:      cfg.Pool,
		logger:    cfg.Logger,
		batchSize: cfg.BatchSize,
		metrics:   cfg.metrics,
		urgent:    make(chan struct{}),
		finished:  make(chan struct{}),
		abandon:   abandon,
	}
	log.changed = sync.NewCond(&log.mu)
	go log.write(ctx)
	return log
}

// Open writes the intent of an attempt and returns when it is committed. If it returns an error nothing
// may be sent. It blocks while too many outcomes wait for the database, so that no worker fetches more.
func (l *AttemptLog) Open(ctx context.Context, attempt *Attempt) error {
	defer l.wakeWhenDone(ctx)()

	l.mu.Lock()
	for l.unwritten >= maxUnwritten && ctx.Err() == nil && !l.closed {
		l.changed.Wait()
	}
	if err := ctx.Err(); err != nil {
		l.mu.Unlock()
		return fmt.Errorf("%w: %d outcomes wait: %w", errUnwritable, maxUnwritten, err)
	}
	entry, err := l.add(entryOpen, attempt)
	l.mu.Unlock()
	if err != nil {
		return err
	}

	select {
	case err := <-entry.written:
		return err
	case <-ctx.Done():
		l.mu.Lock()
		entry.abandoned = true
		l.mu.Unlock()
		// The writer may have been quicker than the mark; then the row must go again.
		select {
		case err := <-entry.written:
			if err == nil {
				l.withdraw(&entry.attempt)
			}
		default:
		}
		return fmt.Errorf("%w: %w", errUnwritable, ctx.Err())
	}
}

// CloseAttempt writes the outcome of an attempt that was opened. It returns when that is committed, or
// when ctx ends; the outcome is written even then, as soon as the database takes it.
func (l *AttemptLog) CloseAttempt(ctx context.Context, attempt *Attempt) error {
	return l.keep(ctx, entryClose, attempt)
}

// Record writes a row for a delivery that ended without a POST, as [AttemptLog.CloseAttempt] writes outcomes.
func (l *AttemptLog) Record(ctx context.Context, attempt *Attempt) error {
	return l.keep(ctx, entryRecord, attempt)
}

func (l *AttemptLog) keep(ctx context.Context, kind entryKind, attempt *Attempt) error {
	l.mu.Lock()
	entry, err := l.add(kind, attempt)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err := <-entry.written:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnwritable, ctx.Err())
	}
}

func (l *AttemptLog) withdraw(attempt *Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.add(entryWithdraw, attempt) // nobody waits for it; a closed log leaves the row to the sweeper
}

// add queues an entry. l.mu is held.
func (l *AttemptLog) add(kind entryKind, attempt *Attempt) (*logEntry, error) {
	if l.closed {
		return nil, errLogClosed
	}
	entry := &logEntry{kind: kind, attempt: *attempt, written: make(chan error, 1)}
	l.queue = append(l.queue, entry)
	if entry.kept() {
		l.unwritten++
	}
	l.changed.Broadcast()
	return entry, nil
}

// wakeWhenDone wakes those who wait for a change when ctx ends, until the function that it returns is called.
func (l *AttemptLog) wakeWhenDone(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})
}

// Flushed waits until the outcomes that it has been given are written, or ctx ends.
func (l *AttemptLog) Flushed(ctx context.Context) {
	defer l.wakeWhenDone(ctx)()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.unwritten > 0 && ctx.Err() == nil {
		l.changed.Wait()
	}
}

// Unwritten is how many outcomes the database has not taken yet.
func (l *AttemptLog) Unwritten() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unwritten
}

// Close writes what is queued and ends the log. If ctx ends before that, what could not be written is
// lost, and Close returns an error that says how much.
func (l *AttemptLog) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.urgent)
		l.changed.Broadcast()
	}
	l.mu.Unlock()

	defer l.abandon()
	select {
	case <-l.finished:
		return nil
	case <-ctx.Done():
		l.abandon()
		<-l.finished
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.unwritten > 0 {
			return fmt.Errorf("%d outcomes of attempts were not written: %w", l.unwritten, errUnwritable)
		}
		return nil
	}
}

// write is the writer: it takes batches until the log is closed and empty.
func (l *AttemptLog) write(ctx context.Context) {
	defer close(l.finished)
	backoff := firstBackoff
	for {
		batch := l.next()
		if batch == nil {
			return
		}
		retry := l.flush(ctx, batch)
		if len(retry) == 0 {
			backoff = firstBackoff
			continue
		}
		l.mu.Lock()
		l.queue = append(retry, l.queue...)
		urgent := l.urgent
		if l.closed {
			urgent = nil // the pause is what keeps the last tries from spinning
		}
		l.mu.Unlock()

		select {
		case <-ctx.Done():
			return
		case <-urgent:
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// next waits for entries and takes up to a batch of them; nil when the log is closed and empty.
func (l *AttemptLog) next() []*logEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for len(l.queue) == 0 && !l.closed {
			l.changed.Wait()
		}
		if len(l.queue) == 0 {
			return nil
		}
		size := min(len(l.queue), l.batchSize)
		batch := make([]*logEntry, 0, size)
		for _, entry := range l.queue[:size] {
			if !entry.abandoned {
				batch = append(batch, entry)
			}
		}
		l.queue = l.queue[size:]
		if len(batch) > 0 {
			return batch
		}
	}
}

// flush writes a batch and answers those who wait. It returns the entries to be written again.
func (l *AttemptLog) flush(ctx context.Context, batch []*logEntry) []*logEntry {
	timed, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	l.metrics.wrote(ctx, len(batch))
	err := writeEntries(timed, l.pool, batch)
	if err == nil {
		if l.failing {
			l.logger.InfoContext(ctx, "attempts written again")
		}
		l.failing = false
		l.settle(batch, nil)
		return nil
	}
	if isRowError(err) && len(batch) > 1 {
		// One row spoils the statement: alone, only that one fails.
		var retry []*logEntry
		for _, entry := range batch {
			retry = append(retry, l.flush(ctx, []*logEntry{entry})...)
		}
		return retry
	}
	if isRowError(err) || !l.failing {
		l.logger.WarnContext(ctx, "attempts not written", slog.Int("rows", len(batch)), slog.String("error", err.Error()))
	}
	if isRowError(err) {
		// No repetition helps: the row is lost, and said to be.
		l.settle(batch, err)
		return nil
	}

	l.failing = true
	var retry, failed []*logEntry
	for _, entry := range batch {
		if entry.kept() {
			retry = append(retry, entry)
		} else {
			failed = append(failed, entry)
		}
	}
	l.settle(failed, fmt.Errorf("%w: %w", errUnwritable, err))
	if !isServerError(err) {
		// The connection broke: the intents may have been committed all the same.
		for _, entry := range failed {
			l.withdraw(&entry.attempt)
		}
	}
	return retry
}

// settle answers those who wait for entries.
func (l *AttemptLog) settle(entries []*logEntry, err error) {
	l.mu.Lock()
	var late []*logEntry
	for _, entry := range entries {
		if entry.kept() {
			l.unwritten--
		}
		if entry.abandoned && err == nil {
			late = append(late, entry)
			continue
		}
		entry.written <- err
	}
	l.changed.Broadcast()
	l.mu.Unlock()
	for _, entry := range late {
		l.withdraw(&entry.attempt)
	}
}

// isServerError says whether PostgreSQL itself answered with an error, so that nothing was committed.
func isServerError(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr)
}

// isRowError says whether the error lies in a row's values (SQLSTATE classes 22 and 23), so that writing
// the same again fails again.
func isRowError(err error) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || len(pgErr.Code) < 2 {
		return false
	}
	return pgErr.Code[:2] == "22" || pgErr.Code[:2] == "23"
}
