package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/tidwall/gjson"
)

const (
	// maxNewerWait is how long a delivery waits for a worker that knows its version, from when one first did not: over a
	// weekend on which an update was taken back. Then it takes tries, so that one that nobody will ever know ends as a dead
	// letter.
	maxNewerWait = 72 * time.Hour

	// newerSinceKey is since when, in a job's metadata.
	newerSinceKey = "newer_since"
)

// newerArgs puts deliveries off that a later version of this program made, so that a worker of that version takes them.
// It is a River middleware, since their arguments may mean nothing to [DeliveryArgs].
type newerArgs struct {
	river.MiddlewareDefaults

	logger  *slog.Logger
	now     func() time.Time
	metrics *metrics // nil: nothing is counted
}

// Middleware looks at a delivery's version before its arguments are read.
func (w *DeliveryWorker) Middleware(*rivertype.JobRow) []rivertype.WorkerMiddleware {
	return []rivertype.WorkerMiddleware{&newerArgs{logger: w.logger, now: w.now, metrics: w.metrics}}
}

// Work lets through what this version knows.
func (n *newerArgs) Work(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
	version := versionOf(job)
	if version <= argsVersion {
		return work(ctx)
	}
	now := n.now()
	since, has := newerSince(job)
	if !has || since.After(now) {
		since = now
		if err := river.MetadataSet(ctx, newerSinceKey, since.UTC().Format(time.RFC3339)); err != nil {
			return fmt.Errorf("keeping since when the delivery waits: %w", err)
		}
	}
	waited := now.Sub(since)
	if waited > maxNewerWait {
		return fmt.Errorf("a newer webhook-worker made them: version %d, and this worker knows versions up to %d", version, argsVersion)
	}
	wait := holdFor(waited, minSnooze)
	n.logger.WarnContext(ctx, "delivery put off: a newer webhook-worker made it; update this worker",
		slog.String("delivery_id", readableArgs(job.EncodedArgs).DeliveryID.String()),
		slog.Int64("version", version), slog.Int("known", argsVersion), slog.Duration("wait", wait))
	n.metrics.putOff(ctx, putOffNewer)
	return river.JobSnooze(wait)
}

// newerSince is since when a delivery waits for a worker that knows its version, if it does.
func newerSince(job *rivertype.JobRow) (time.Time, bool) {
	since, err := time.Parse(time.RFC3339, gjson.GetBytes(job.Metadata, newerSinceKey).Str)
	return since, err == nil
}

// versionOf is the version of a delivery's arguments; 0 if they name none.
func versionOf(job *rivertype.JobRow) int64 {
	return gjson.GetBytes(job.EncodedArgs, "version").Int()
}
