package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/tidwall/gjson"

	"github.com/epicvoice/webhook-worker/partners"
)

// EnqueuerConfig is what an Enqueuer needs.
type EnqueuerConfig struct {
	// Client inserts the jobs. An application may pass a River client of its own, so that its hooks and
	// middleware see the jobs; if that client has Workers, it needs SkipUnknownJobCheck, because deliveries
	// are worked elsewhere. Where webhook-worker has a schema of its own, the client's Schema must be that
	// one. Nil: a client that only inserts.
	Client *river.Client[pgx.Tx]
}

// sqlUndefined are the SQLSTATEs of a function, column or table that is not there.
//
//nolint:gochecknoglobals // a constant list
var sqlUndefined = []string{"42883", "42703", "42P01"}

// Enqueuer hands events over for delivery. It is safe for concurrent use.
type Enqueuer struct {
	client *river.Client[pgx.Tx]
}

// NewEnqueuer makes an Enqueuer. A nil cfg means all defaults.
func NewEnqueuer(cfg *EnqueuerConfig) (*Enqueuer, error) {
	if cfg != nil && cfg.Client != nil {
		return &Enqueuer{client: cfg.Client}, nil
	}
	client, err := river.NewClient(riverpgxv5.New(nil), &river.Config{})
	if err != nil {
		return nil, fmt.Errorf("making a River client: %w", err)
	}
	return &Enqueuer{client: client}, nil
}

// EnqueueTx stores an event and, in the same transaction, one job for each partner of its user that is
// subscribed to its type. It returns one Delivery for each, in the order of the partners' slugs; none is
// fine. If the transaction rolls back nothing remains; when it commits a worker wakes at once.
//
// The same event again returns the deliveries of the first time and creates nothing. The same id with
// another type or payload is [ErrEventConflict], unless event.OnConflict says that the first wins. Under
// REPEATABLE READ the loser of two concurrent transactions gets SQLSTATE 40001. Events that break a rule
// are refused with a [*partners.ValidationError], before anything is sent to the database.
//
// A trace context in ctx goes along: each attempt is in that trace, and partners are told of it (traceparent).
//
// It takes at most four round trips, however many partners there are.
func (e *Enqueuer) EnqueueTx(ctx context.Context, tx pgx.Tx, event *Event) ([]Delivery, error) {
	return e.enqueue(ctx, tx, event, nil, TriggerSchedule)
}

// EnqueueCallOutcomeTx is [Enqueuer.EnqueueTx] for the outcome of a call: a JSON object whose event_type is
// the event's type. The event's id is made of callID and that type, and the first outcome wins: a handler
// that runs again, with a fresh timestamp, neither fails nor delivers twice.
func (e *Enqueuer) EnqueueCallOutcomeTx(
	ctx context.Context, tx pgx.Tx, userID, callID string, outcome json.RawMessage,
) ([]Delivery, error) {
	event, err := callOutcomeEvent(userID, callID, outcome)
	if err != nil {
		return nil, err
	}
	return e.EnqueueTx(ctx, tx, event)
}

// EnqueueTestTx sends an event to one partner, whatever it is subscribed to, in a single try.
func (e *Enqueuer) EnqueueTestTx(ctx context.Context, tx pgx.Tx, event *Event, partnerID uuid.UUID) (*Delivery, error) {
	deliveries, err := e.enqueue(ctx, tx, event, &partnerID, TriggerTest)
	if err != nil {
		return nil, err
	}
	if len(deliveries) == 0 {
		return nil, fmt.Errorf("enqueueing a test: the partner is disabled or gone: %w", partners.ErrNotFound)
	}
	return &deliveries[0], nil
}

func (e *Enqueuer) enqueue(
	ctx context.Context, tx pgx.Tx, given *Event, only *uuid.UUID, trigger Trigger,
) ([]Delivery, error) {
	event := *given
	if event.ID == "" {
		id, err := uuid.NewV7() // neighbours in the key are on one page
		if err != nil {
			return nil, fmt.Errorf("making an event id: %w", err)
		}
		event.ID = id.String()
	}
	if err := event.validate(); err != nil {
		return nil, err
	}
	stored, subscribed, err := e.storeEvent(ctx, tx, &event, only)
	if err != nil {
		return nil, fmt.Errorf("storing event %q: %w", event.ID, describeMissing(err))
	}
	if !stored {
		return e.repeatedEvent(ctx, tx, &event)
	}
	if len(subscribed) == 0 {
		return []Delivery{}, nil
	}
	return e.insertJobs(ctx, tx, &event, subscribed, trigger)
}

// describeMissing says what to do about a database that lacks what this version reads: applications are updated last, and
// tables are only found in the schemas of search_path.
func describeMissing(err error) error {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && slices.Contains(sqlUndefined, pgErr.Code) {
		return fmt.Errorf("webhook-worker's tables are not found, or are behind this program's webhook-worker package: have their schema in search_path, and run `webhook-worker migrate up` of that version first: %w", err)
	}
	return err
}

// maxClockError is how far the application's clock may be off before its jobs are dated anew. A worker looks
// for what comes due within as much anyway.
const maxClockError = time.Second

// subscription is a partner that an event goes to, with what its job needs.
type subscription struct {
	Delivery

	maxAttempts int
	priority    int
	enqueuedAt  time.Time // by the database's clock
}

// storeEventStatement stores an event that is new and returns its subscriptions. The settings are scalar
// subqueries and not joined: a table without statistics counts as thousands of rows, and PostgreSQL would
// compile the statement (JIT) for 40 ms each time.
const storeEventStatement = `
	with subscribed as materialized (
	    select p.id as partner_id, p.partner_slug, webhook_ordered_id() as delivery_id,
	           case when $6::uuid is null then webhook_delivery_priority(p.id) else 1 end as priority,
	           case when $6::uuid is null then 1 + coalesce(p.max_retries, (select retry_max_attempts from webhook_settings)) else 1 end as max_attempts
	      from partner_webhooks p
	     where p.user_id = $1
	       and p.enabled
	       and case when $6::uuid is null then p.enabled_events && $5::text[] else p.id = $6 end
	), stored as (
	    insert into webhook_events (user_id, event_id, event_type, payload, partner_ids, delivery_ids)
	    select $1, $2, $3, $4::json,
	           coalesce(array_agg(partner_id order by partner_slug), '{}'),
	           coalesce(array_agg(delivery_id order by partner_slug), '{}')
	      from subscribed
	    on conflict (user_id, event_id) do nothing
	    returning true
	)
	select exists (select from stored) as stored, (select river_schema from webhook_settings) as river_schema,
	       subscribed.partner_id, subscribed.partner_slug, subscribed.delivery_id, subscribed.max_attempts, subscribed.priority, clock_timestamp(),
	       case when subscribed.partner_id is not null and exists (select from stored)
	             and (select watched_until < clock_timestamp() from webhook_settings) then ` + wakeWorkers + ` end
	  from (select) as always
	  left join subscribed on true
	 order by subscribed.partner_slug`

// storeEvent inserts the event, which is the gate: whoever stores it creates the jobs. It finds the
// subscribed partners and makes the delivery ids in the same statement, and wakes the workers when the
// transaction commits, unless they look all the time. River notifies too, but at most once in a fetch cooldown, counted from the call and
// not from the commit, so that a second transaction's wake-up can be lost.
func (e *Enqueuer) storeEvent(ctx context.Context, tx pgx.Tx, event *Event, only *uuid.UUID) (bool, []subscription, error) {
	rows, err := tx.Query(ctx, storeEventStatement,
		event.UserID, event.ID, event.Type, string(event.Payload), partners.PatternsFor(event.Type), only)
	if err != nil {
		return false, nil, err
	}
	var (
		stored      bool
		schema      string
		partnerID   *uuid.UUID
		slug        *string
		deliveryID  *uuid.UUID
		maxAttempts *int
		priority    *int
		now         time.Time
		subscribed  []subscription
	)
	_, err = pgx.ForEachRow(rows, []any{&stored, &schema, &partnerID, &slug, &deliveryID, &maxAttempts, &priority, &now, nil}, func() error {
		if partnerID != nil {
			subscribed = append(subscribed, subscription{
				Delivery:    Delivery{ID: *deliveryID, PartnerID: *partnerID, PartnerSlug: *slug},
				maxAttempts: *maxAttempts,
				priority:    *priority,
				enqueuedAt:  now,
			})
		}
		return nil
	})
	if err == nil && e.client.Schema() != "" && e.client.Schema() != schema {
		err = fmt.Errorf("the application's River client uses schema %q, and deliveries are worked in %q: give NewEnqueuer a client of that schema",
			e.client.Schema(), schema)
	}
	return stored, subscribed, err
}

// repeatedEventStatement reads a stored event's deliveries, and whether its type and payload are these.
const repeatedEventStatement = `
	select e.event_type = $3 and e.payload::text = $4,
	       d.delivery_id, d.partner_id, coalesce(p.partner_slug, ''), coalesce(j.id, 0)
	  from webhook_events e
	  left join lateral unnest(e.partner_ids, e.delivery_ids) with ordinality as d (partner_id, delivery_id, place) on true
	  left join partner_webhooks p on p.user_id = e.user_id and p.id = d.partner_id
	  left join river_job j on j.kind = 'webhook_delivery' and j.args->>'delivery_id' = d.delivery_id::text
	 where e.user_id = $1 and e.event_id = $2
	 order by d.place`

// repeatedEvent returns the deliveries of an event that had been stored before.
func (e *Enqueuer) repeatedEvent(ctx context.Context, tx pgx.Tx, event *Event) ([]Delivery, error) {
	rows, err := tx.Query(ctx, strings.Replace(repeatedEventStatement, "join river_job", "join "+e.jobTable(), 1),
		event.UserID, event.ID, event.Type, string(event.Payload))
	if err != nil {
		return nil, fmt.Errorf("reading event %q: %w", event.ID, err)
	}
	var (
		found, same bool
		deliveryID  *uuid.UUID
		partnerID   *uuid.UUID
		delivery    Delivery
	)
	deliveries := []Delivery{}
	_, err = pgx.ForEachRow(rows, []any{&same, &deliveryID, &partnerID, &delivery.PartnerSlug, &delivery.JobID}, func() error {
		found = true
		if deliveryID != nil {
			delivery.ID, delivery.PartnerID = *deliveryID, *partnerID
			deliveries = append(deliveries, delivery)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading event %q: %w", event.ID, err)
	case !found:
		return nil, fmt.Errorf("event %q was removed while it was being enqueued again: try once more", event.ID)
	case !same && event.OnConflict != OnConflictFirst:
		return nil, fmt.Errorf("event %q: %w", event.ID, ErrEventConflict)
	}
	return deliveries, nil
}

// insertJobs adds one River job for each subscription, in one statement.
func (e *Enqueuer) insertJobs(
	ctx context.Context, tx pgx.Tx, event *Event, subscribed []subscription, trigger Trigger,
) ([]Delivery, error) {
	given := deliveryMetadata{Trigger: trigger}
	given.carry(ctx)
	metadata, err := json.Marshal(given)
	if err != nil {
		return nil, fmt.Errorf("encoding job metadata: %w", err)
	}
	params := make([]river.InsertManyParams, len(subscribed))
	for i, s := range subscribed {
		params[i] = river.InsertManyParams{
			Args: DeliveryArgs{
				Version:    argsVersion,
				DeliveryID: s.ID,
				UserID:     event.UserID,
				PartnerID:  s.PartnerID,
				EventID:    event.ID,
				EventType:  event.Type,
			},
			InsertOpts: &river.InsertOpts{MaxAttempts: s.maxAttempts, Priority: s.priority, Metadata: metadata},
		}
	}
	results, err := e.client.InsertManyTx(ctx, tx, params)
	if _, ok := errors.AsType[*river.UnknownJobKindError](err); ok {
		return nil, fmt.Errorf("enqueueing event %q: set SkipUnknownJobCheck in the application's River client: %w", event.ID, err)
	}
	if err != nil {
		return nil, fmt.Errorf("enqueueing event %q: %w", event.ID, err)
	}
	deliveries := withJobIDs(subscribed, results)
	// River dates jobs by the application's clock, and the database decides by its own what is due.
	if wrong := results[0].Job.ScheduledAt.Sub(subscribed[0].enqueuedAt); wrong.Abs() > maxClockError {
		if err := e.dateByDatabase(ctx, tx, deliveries); err != nil {
			return nil, fmt.Errorf("enqueueing event %q: %w", event.ID, err)
		}
	}
	return deliveries, nil
}

// dateByDatabase makes new jobs due now by the database's clock.
func (e *Enqueuer) dateByDatabase(ctx context.Context, tx pgx.Tx, deliveries []Delivery) error {
	ids := make([]int64, len(deliveries))
	for i := range deliveries {
		ids[i] = deliveries[i].JobID
	}
	if _, err := tx.Exec(ctx, `update `+e.jobTable()+` set created_at = now(), scheduled_at = now() where id = any($1)`, ids); err != nil {
		return fmt.Errorf("dating its jobs: %w", err)
	}
	return nil
}

// jobTable is River's table of jobs. Where the client names its schema, the search path may lead to another's.
func (e *Enqueuer) jobTable() string {
	if schema := e.client.Schema(); schema != "" {
		return pgx.Identifier{schema, "river_job"}.Sanitize()
	}
	return "river_job"
}

// withJobIDs gives each delivery the id of its job, whatever order the database returned them in.
func withJobIDs(subscribed []subscription, results []*rivertype.JobInsertResult) []Delivery {
	jobIDs := make(map[string]int64, len(results))
	for _, result := range results {
		jobIDs[gjson.GetBytes(result.Job.EncodedArgs, "delivery_id").Str] = result.Job.ID
	}
	deliveries := make([]Delivery, len(subscribed))
	for i, s := range subscribed {
		deliveries[i] = s.Delivery
		deliveries[i].JobID = jobIDs[s.ID.String()]
	}
	return deliveries
}
