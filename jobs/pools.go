package jobs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// poolWatch sees whether a worker's pools reach the database, since a path to it, such as that through a pooler, may be
// broken where the connection that holds the worker's locks is not; and whether the queue is paused there.
type poolWatch struct {
	pools []*pgxpool.Pool
	pulse pulse

	mu         sync.Mutex
	away       error     // why one does not
	isPaused   bool      // whether the queue was paused when it was last looked
	seenPaused time.Time // when it last was
}

// run looks until ctx ends.
func (w *poolWatch) run(ctx context.Context) {
	defer w.pulse.end()
	for {
		w.pulse.beat()
		select {
		case <-ctx.Done():
			return
		case <-time.After(heartbeatInterval):
		}
		err := w.look(ctx)
		if ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		w.away = err
		w.mu.Unlock()
	}
}

func (w *poolWatch) look(ctx context.Context) error {
	for _, pool := range w.pools {
		bounded, cancel := context.WithTimeout(ctx, heartbeatTimeout)
		var paused bool
		err := pool.QueryRow(bounded, `select exists (select from river_queue where name = $1 and paused_at is not null)`, Queue).Scan(&paused)
		cancel()
		if err != nil {
			return fmt.Errorf("looking whether the database answers: %w", err)
		}
		w.mu.Lock()
		if w.isPaused = paused; paused {
			w.seenPaused = time.Now()
		}
		w.mu.Unlock()
	}
	return nil
}

// paused says whether the queue is, and when it was last seen to be.
func (w *poolWatch) paused() (bool, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.isPaused, w.seenPaused
}

// fault says why a pool does not reach the database; nil: all do.
func (w *poolWatch) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.away
}
