package jobs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// poolWatch sees whether a worker's pools reach the database: a path to it, such as that through a pooler, may
// be broken where the connection that holds the worker's locks is not.
type poolWatch struct {
	pools []*pgxpool.Pool

	mu   sync.Mutex
	away error // why one does not; guarded by mu
}

// run looks until ctx ends.
func (w *poolWatch) run(ctx context.Context) {
	for {
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
		_, err := pool.Exec(bounded, `select`)
		cancel()
		if err != nil {
			return fmt.Errorf("looking whether the database answers: %w", err)
		}
	}
	return nil
}

// fault says why a pool does not reach the database; nil: all do.
func (w *poolWatch) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.away
}
