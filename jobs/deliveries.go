package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// ErrNotFound is returned for a delivery that does not exist, or is another user's.
var ErrNotFound = errors.New("delivery not found")

// Status is where a delivery stands, in the words of the view webhook_delivery_queue.
type Status string

// The statuses.
const (
	StatusPending    Status = "pending"     // no try yet
	StatusProcessing Status = "processing"  // a try is running
	StatusFailed     Status = "failed"      // waits for its next try
	StatusDelivered  Status = "delivered"   // the partner took it
	StatusDeadLetter Status = "dead_letter" // out of tries
	StatusCancelled  Status = "cancelled"   // ended by hand, or because its partner is gone
)

// Statuses lists all statuses.
func Statuses() []Status {
	return []Status{StatusPending, StatusProcessing, StatusFailed, StatusDelivered, StatusDeadLetter, StatusCancelled}
}

// Ended says whether nothing more happens to a delivery of this status by itself.
func (s Status) Ended() bool {
	return s == StatusDelivered || s == StatusDeadLetter || s == StatusCancelled
}

// DeliveryState is one row of the view webhook_delivery_queue, with its partner's slug.
type DeliveryState struct {
	ID                 string     `json:"id"`
	UserID             string     `json:"user_id"`
	PartnerID          string     `json:"partner_id"`
	PartnerSlug        *string    `json:"partner_slug"` // nil: the partner was deleted
	EventID            string     `json:"event_id"`
	EventType          string     `json:"event_type"`
	Status             Status     `json:"status"`
	AttemptCount       int        `json:"attempt_count"`
	MaxAttempts        int        `json:"max_attempts"`
	LastError          *string    `json:"last_error"`
	LastErrorKind      *string    `json:"last_error_kind"`
	LastResponseStatus *int       `json:"last_response_status"`
	NextAttemptAt      *time.Time `json:"next_attempt_at"`
	JobID              int64      `json:"job_id"` // River's; 0: it has been removed
	CreatedAt          time.Time  `json:"created_at"`
	UpdatedAt          time.Time  `json:"updated_at"`
}

// Deliveries reads, cancels and replays deliveries, for operators.
type Deliveries struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
}

// NewDeliveries makes a Deliveries.
func NewDeliveries(ctx context.Context, pool *pgxpool.Pool) (*Deliveries, error) {
	schema, err := RiverSchema(ctx, pool)
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Schema: schema}) // where the workers listen
	if err != nil {
		return nil, fmt.Errorf("making a River client: %w", err)
	}
	return &Deliveries{pool: pool, client: client}, nil
}

const deliveryColumns = `
	select q.id, q."userId", q.partner_id, p.partner_slug, q.event_id, q.event_type, q.status, q.attempt_count, q.max_attempts,
	       q.last_error, q.last_error_kind, q.last_response_status, q.next_attempt_at, q.job_id, q."createdAt", q."updatedAt"
	  from webhook_deliveries q
	  left join partner_webhooks p on p.user_id = q."userId" and p.id::text = q.partner_id`

// List reads a page of deliveries, the newest first. No index has those that are delivered by time: with them, deliveries
// are found by their events, in the order of these, also where one was recovered later. A page after a delivery that has no
// job any more is an error that wraps [ErrNotFound].
func (d *Deliveries) List(ctx context.Context, filter *Filter, page *Page) ([]DeliveryState, error) {
	byEvent := filter.Status == "" || filter.Status == StatusDelivered
	statement, created, where := deliveryColumns, `q."createdAt"`, filter.ofQueue()
	if byEvent {
		statement, created, where = deliveryColumns+`
	  join webhook_events e on q.id = any (e.delivery_ids::text[])`, `e.created_at`, filter.ofEvents()
		filter.addJobs(where)
	}
	if page.After != uuid.Nil {
		last, err := getQueued(ctx, d.pool, filter.UserID, page.After)
		if err == nil && byEvent {
			last.CreatedAt, err = d.eventTime(ctx, last)
		}
		if err != nil {
			return nil, err
		}
		where.add(created+` <= $?`, last.CreatedAt) // which an index serves
		where.add(`(`+created+`, q.job_id) < ($?, `+where.arg(last.JobID)+`)`, last.CreatedAt)
	}
	statement += where.where() + `
		 order by ` + created + ` desc, q.job_id desc
		 limit ` + where.arg(page.Limit)
	list, err := collect(ctx, d.pool, pgx.RowToStructByPos[DeliveryState], statement, where.args...)
	if err != nil {
		return nil, fmt.Errorf("listing deliveries: %w", err)
	}
	return list, nil
}

// eventTime reads when the event of a delivery was enqueued.
func (d *Deliveries) eventTime(ctx context.Context, state *DeliveryState) (created time.Time, err error) {
	err = d.pool.QueryRow(ctx, `select created_at from webhook_events where user_id = $1 and event_id = $2`, state.UserID, state.EventID).Scan(&created)
	if errors.Is(err, pgx.ErrNoRows) {
		return created, fmt.Errorf("%w: the event of %s was removed", ErrNotFound, state.ID)
	}
	if err != nil {
		return created, fmt.Errorf("reading event %q: %w", state.EventID, err)
	}
	return created, nil
}

// Get reads one delivery; a userID that is not empty must be its user's. One whose job has been removed (see
// RETENTION_COMPLETED) is read from the attempt log. The error wraps [ErrNotFound] if neither has it.
func (d *Deliveries) Get(ctx context.Context, userID string, id uuid.UUID) (*DeliveryState, error) {
	state, err := getQueued(ctx, d.pool, userID, id)
	if errors.Is(err, ErrNotFound) {
		return getLogged(ctx, d.pool, userID, id)
	}
	return state, err
}

// getQueued reads a delivery that has a job.
func getQueued(ctx context.Context, db querier, userID string, id uuid.UUID) (*DeliveryState, error) {
	return getDelivery(ctx, db, deliveryColumns+`
		 where q.id = $1 and ($2 = '' or q."userId" = $2)`, userID, id)
}

// getLogged reads a delivery that has no job any more, as its last attempt left it.
func getLogged(ctx context.Context, db querier, userID string, id uuid.UUID) (*DeliveryState, error) {
	return getDelivery(ctx, db, `
		select l.delivery_id::text, l.user_id, l.partner_id::text, p.partner_slug, l.event_id, l.event_type,
		       case l.outcome when 'delivered' then 'delivered' when 'cancelled' then 'cancelled' else 'dead_letter' end,
		       l.attempt, l.attempt as max_attempts, l.error, l.error_kind, l.response_status, null::timestamptz, 0,
		       coalesce(e.created_at, l.started_at), l.started_at
		  from webhook_delivery_log l
		  left join webhook_events e on e.user_id = l.user_id and e.event_id = l.event_id
		  left join partner_webhooks p on p.user_id = l.user_id and p.id = l.partner_id
		 where l.delivery_id = $1::uuid and ($2 = '' or l.user_id = $2)
		 order by l.started_at desc, l.attempt_id
		 limit 1`, userID, id)
}

func getDelivery(ctx context.Context, db querier, statement, userID string, id uuid.UUID) (*DeliveryState, error) {
	rows, err := db.Query(ctx, statement, id.String(), userID)
	if err != nil {
		return nil, fmt.Errorf("reading delivery %s: %w", id, err)
	}
	state, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[DeliveryState])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err != nil {
		return nil, fmt.Errorf("reading delivery %s: %w", id, err)
	}
	return &state, nil
}

// Attempts reads the attempts of a delivery, the oldest first; a userID that is not empty must be its user's.
func (d *Deliveries) Attempts(ctx context.Context, userID string, id uuid.UUID) ([]Attempt, error) {
	list, err := collect(ctx, d.pool, pgx.RowToStructByPos[Attempt], `
		select attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger, outcome,
		       response_status, response_headers, response_body, error_kind, error, url, duration_ms, client_id, started_at
		  from webhook_delivery_log
		 where delivery_id = $1 and ($2 = '' or user_id = $2)
		 order by started_at, attempt_id`, id, userID)
	if err != nil {
		return nil, fmt.Errorf("reading the attempts of delivery %s: %w", id, err)
	}
	return list, nil
}

// Payload reads the payload of a delivery's event; nil if the event has been removed.
func (d *Deliveries) Payload(ctx context.Context, userID, eventID string) (json.RawMessage, error) {
	var payload []byte
	err := d.pool.QueryRow(ctx, `select payload::text from webhook_events where user_id = $1 and event_id = $2`, userID, eventID).Scan(&payload)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("reading event %q: %w", eventID, err)
	}
	return payload, nil
}

// releaseStatement looks in the common queue, by an index of its own, and in that of the partner, if it is held back.
const releaseStatement = `
	update river_job
	   set state = 'available', scheduled_at = now()
	 where state = 'scheduled'
	   and id in (select id from river_job
	               where kind = 'webhook_delivery' and queue = 'webhooks' and state = 'scheduled'
	                 and args->>'partner_id' = $2 and args->>'user_id' = $1
	               union all
	              select id from river_job
	               where kind = 'webhook_delivery' and queue = 'webhooks-held-' || $2 and state = 'scheduled'
	                 and args->>'user_id' = $1)`

// ReleaseTx makes the deliveries of a partner due that were put off, for its pause or for trouble of the
// workers' own, and returns how many. Those that wait for their next try keep waiting.
func (d *Deliveries) ReleaseTx(ctx context.Context, tx pgx.Tx, userID string, partnerID uuid.UUID) (int64, error) {
	tag, err := tx.Exec(ctx, releaseStatement, userID, partnerID.String())
	if err != nil {
		return 0, fmt.Errorf("releasing deliveries: %w", err)
	}
	if err := wake(ctx, tx); err != nil {
		return 0, err
	}
	return tag.RowsAffected(), nil
}

// lockJob keeps a worker from fetching a delivery's job before the transaction ends.
func lockJob(ctx context.Context, tx pgx.Tx, userID string, id uuid.UUID) error {
	for {
		var locked int64
		err := tx.QueryRow(ctx, `
			select id from river_job where kind = 'webhook_delivery' and args->>'delivery_id' = $1 for update`, id.String()).Scan(&locked)
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		// A replay that committed while the lock was waited for has put another job in the place of that one, which
		// only a new statement sees.
		if _, err := getQueued(ctx, tx, userID, id); err != nil {
			return err
		}
	}
}

// Cancel ends a delivery that waits or runs, and puts that on record as done by client, if record is set.
// One that has ended already stays as it is. It returns the state before. Its error wraps [ErrNotFound] if
// there is none.
func (d *Deliveries) Cancel(ctx context.Context, userID string, id uuid.UUID, client string, record bool) (*DeliveryState, error) {
	var before *DeliveryState
	err := pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		if err := lockJob(ctx, tx, userID, id); err != nil {
			return err
		}
		var err error
		before, err = getQueued(ctx, tx, userID, id)
		if err != nil || before.Status.Ended() {
			return err
		}
		if _, err = d.client.JobCancelTx(ctx, tx, before.JobID); err != nil {
			return err
		}
		if !record || before.Status == StatusProcessing {
			return nil // a running one is closed by its worker
		}
		_, err = tx.Exec(ctx, `
			insert into webhook_delivery_log
			       (attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger,
			        outcome, error_kind, error, client_id, started_at)
			values (gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7, $8, $9, 'internal', 'cancelled by hand', $10, now())`,
			id, before.JobID, before.UserID, before.PartnerID, before.EventID, before.EventType, before.AttemptCount,
			string(TriggerManual), string(OutcomeCancelled), client)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cancelling delivery %s: %w", id, err)
	}
	return before, nil
}
