package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// enqueueWay is one way of enqueueing. Its functions return the delivery ids, and leave the transaction
// usable if they fail.
type enqueueWay struct {
	name    string
	event   func(ctx context.Context, tx pgx.Tx, event *jobs.Event) ([]uuid.UUID, error)
	outcome func(ctx context.Context, tx pgx.Tx, userID, callID, outcome string) ([]uuid.UUID, error)
}

func (b *testBundle) bothWays() []enqueueWay {
	return []enqueueWay{
		{
			name: "go",
			event: func(ctx context.Context, tx pgx.Tx, event *jobs.Event) ([]uuid.UUID, error) {
				return idsOf(b.enqueuer.EnqueueTx(ctx, tx, event))
			},
			outcome: func(ctx context.Context, tx pgx.Tx, userID, callID, outcome string) ([]uuid.UUID, error) {
				return idsOf(b.enqueuer.EnqueueCallOutcomeTx(ctx, tx, userID, callID, json.RawMessage(outcome)))
			},
		},
		{name: "sql", event: enqueueBySQL, outcome: outcomeBySQL},
	}
}

func idsOf(deliveries []jobs.Delivery, err error) ([]uuid.UUID, error) {
	ids := make([]uuid.UUID, len(deliveries))
	for i, delivery := range deliveries {
		ids[i] = delivery.ID
	}
	return ids, err
}

// enqueueBySQL calls the SQL function as an application would that has the same event.
func enqueueBySQL(ctx context.Context, tx pgx.Tx, event *jobs.Event) ([]uuid.UUID, error) {
	conflict := "error"
	if event.OnConflict == jobs.OnConflictFirst {
		conflict = "first"
	}
	return queryIDs(ctx, tx, `select enqueue_webhook_event($1, $2, $3::json, nullif($4, ''), $5)`,
		event.UserID, event.Type, string(event.Payload), event.ID, conflict)
}

func outcomeBySQL(ctx context.Context, tx pgx.Tx, userID, callID, outcome string) ([]uuid.UUID, error) {
	return queryIDs(ctx, tx, `select enqueue_call_outcome_webhook($1, $2, $3::json)`, userID, callID, outcome)
}

// queryIDs runs a query that returns ids, inside a savepoint.
func queryIDs(ctx context.Context, tx pgx.Tx, query string, args ...any) (ids []uuid.UUID, err error) {
	err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		return err
	})
	return ids, err
}

// subscriber is a partner of user, unless it says whose.
type subscriber struct {
	slug    string
	events  []string
	owner   string
	retries *int
	with    string // more columns, as members of a JSON object
}

// subscribed makes enabled partners of all events with the slugs given.
func subscribed(slugs ...string) []subscriber {
	list := make([]subscriber, len(slugs))
	for i, slug := range slugs {
		list[i] = subscriber{slug: slug, events: []string{"*"}}
	}
	return list
}

// add adds the partner inside the transaction, as a copy of one that the store made, with the same id every
// time.
func (s *subscriber) add(t *testing.T, tx pgx.Tx) {
	t.Helper()
	owner := user
	if s.owner != "" {
		owner = s.owner
	}
	changes, err := json.Marshal(map[string]any{
		"id": uuid.NewSHA1(uuid.NameSpaceOID, []byte(owner+"/"+s.slug)), "user_id": owner, "partner_slug": s.slug,
		"enabled_events": s.events, "max_retries": s.retries,
	})
	require.NoError(t, err)
	with := s.with
	if with == "" {
		with = "{}"
	}
	//nolint:unqueryvet // a copy has every column
	tag, err := tx.Exec(t.Context(), `
		insert into partner_webhooks
		select c.* from partner_webhooks p, jsonb_populate_record(p, $1::jsonb || $2::jsonb) c where p.user_id = 'pattern'`, string(changes), with)
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
}

// state is what a transaction sees of events and jobs, whole rows, with each id and time replaced by what
// is the same whenever it runs. A job's time is now() by SQL, and by Go the time of the application's clock.
func state(t *testing.T, tx pgx.Tx) string {
	t.Helper()
	var dump string
	require.NoError(t, tx.QueryRow(t.Context(), `
		select concat_ws(E'\n',
		       (select string_agg(replace(e::text, now()::text, 'now'), E'\n' order by e.user_id, e.event_id) from webhook_events e),
		       (select string_agg((to_jsonb(j) - 'id' - 'created_at' - 'scheduled_at')::text, E'\n' order by j.id) from river_job j))`).Scan(&dump))
	seen := map[string]string{}
	return regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`).ReplaceAllStringFunc(dump, func(id string) string {
		if seen[id] == "" {
			seen[id] = fmt.Sprintf("id-%d", len(seen)+1)
		}
		return seen[id]
	})
}

// requireRefused checks that the field's rule refused what was given. Where PostgreSQL itself refuses it
// (sqlState), only Go can name the field; * is any SQLSTATE.
func requireRefused(t *testing.T, err error, field, sqlState string) {
	t.Helper()
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch sqlState {
		case "*":
		case "":
			require.Equal(t, "22023", pgErr.Code, "%v", err)
			require.True(t, strings.HasPrefix(pgErr.Message, field+" "), pgErr.Message)
		default:
			require.Equal(t, sqlState, pgErr.Code, "%v", err)
		}
		return
	}
	refused, ok := errors.AsType[*partners.ValidationError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, field, refused.Field, "%v", err)
	require.True(t, strings.HasPrefix(err.Error(), field+" "), "%v", err)
}

// requireStored checks every column that the event's storing sets, and that the ids are in order everywhere.
func requireStored(t *testing.T, tx pgx.Tx, event *jobs.Event, ids []uuid.UUID, want []string) {
	t.Helper()
	var (
		eventID, eventType, payload string
		stored                      []uuid.UUID
	)
	require.NoError(t, tx.QueryRow(t.Context(), `
		select event_id, event_type, payload::text, delivery_ids from webhook_events where user_id = $1`, event.UserID,
	).Scan(&eventID, &eventType, &payload, &stored))
	if event.ID == "" {
		require.NoError(t, uuid.Validate(eventID))
	} else {
		require.Equal(t, event.ID, eventID)
	}
	require.Equal(t, event.Type, eventType)
	require.True(t, string(event.Payload) == payload, "the payload's bytes changed: %.300q", payload) //nolint:testifylint // it may be long
	require.Equal(t, stored, append([]uuid.UUID{}, ids...))

	type job struct {
		Kind, Queue, State, Metadata, Args, Slug, PartnerID string
		MaxAttempts, Priority, Attempt                      int
		Tags                                                []string
		Due                                                 bool
	}
	rows, err := tx.Query(t.Context(), `
		select j.kind, j.queue, j.state, j.metadata::text, j.args::text, p.partner_slug as slug, p.id::text as partner_id,
		       j.max_attempts, j.priority, j.attempt, j.tags, j.scheduled_at = j.created_at as due
		  from river_job j
		  left join partner_webhooks p on p.id::text = j.args->>'partner_id' and p.user_id = j.args->>'user_id' and p.enabled
		 order by j.id`)
	require.NoError(t, err)
	made, err := pgx.CollectRows(rows, pgx.RowToStructByName[job])
	require.NoError(t, err)
	got := []string{}
	require.Len(t, made, len(ids))
	for i, j := range made {
		got = append(got, fmt.Sprint(j.Slug, " ", j.MaxAttempts))
		args, err := json.Marshal(map[string]any{
			"version": 1, "delivery_id": ids[i], "user_id": event.UserID, "partner_id": j.PartnerID, "event_id": eventID, "event_type": eventType,
		})
		require.NoError(t, err)
		require.JSONEq(t, string(args), j.Args)
		require.JSONEq(t, `{"trigger":"schedule"}`, j.Metadata)
		require.Equal(t, job{
			Kind: "webhook_delivery", Queue: "webhooks", State: "available", Metadata: j.Metadata, Args: j.Args, Slug: j.Slug,
			PartnerID: j.PartnerID, MaxAttempts: j.MaxAttempts, Priority: 2, Tags: []string{}, Due: true,
		}, j)
	}
	require.Equal(t, append([]string{}, want...), got)
}

// enqueueCase is one case of the specification that Go and SQL share.
type enqueueCase struct {
	name     string
	partners []subscriber
	settings *int                  // retry_max_attempts, if it isn't the default
	event    func(e *jobs.Event)   // in what it differs from completed(id)
	want     []string              // slug and tries of each delivery, in order
	refused  string                // the field that is refused
	sqlState string                // the SQLSTATE of that, if it isn't our own; see requireRefused
	between  string                // a statement that comes before again
	again    []func(e *jobs.Event) // how the event is enqueued once more: with the first one's ids, and nothing new
	conflict bool                  // how again ends instead
}

// run enqueues an event of the id given, unless the case has one, and returns what it stored.
func (c *enqueueCase) run(t *testing.T, b *testBundle, way enqueueWay, id string) string {
	t.Helper()
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	for _, partner := range c.partners {
		partner.add(t, tx)
	}
	if c.settings != nil {
		_, err = tx.Exec(t.Context(), `update webhook_settings set retry_max_attempts = $1`, *c.settings)
		require.NoError(t, err)
	}
	event := completed(id)
	if c.event != nil {
		c.event(event)
	}
	first, err := way.event(t.Context(), tx, event)
	if c.refused != "" {
		requireRefused(t, err, c.refused, c.sqlState)
		require.Empty(t, state(t, tx))
		return ""
	}
	require.NoError(t, err)
	requireStored(t, tx, event, first, c.want)
	stored := state(t, tx)

	_, err = tx.Exec(t.Context(), c.between)
	require.NoError(t, err)
	before := state(t, tx)
	for _, differ := range c.again {
		repeated := *event
		differ(&repeated)
		ids, err := way.event(t.Context(), tx, &repeated)
		if c.conflict {
			requireConflict(t, err)
			require.ErrorContains(t, err, `"`+id+`"`)
		} else {
			require.NoError(t, err)
			require.Equal(t, first, ids)
		}
		require.Equal(t, before, state(t, tx))
	}
	return stored
}

func requireConflict(t *testing.T, err error) {
	t.Helper()
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		require.Equal(t, "WH001", pgErr.Code, "%v", err)
		return
	}
	require.ErrorIs(t, err, jobs.ErrEventConflict)
}

func TestEnqueueSpec(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, "pattern", "pattern", nowhere, "*") // what the cases' partners are copies of
	for i, c := range enqueueCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stored := map[string]string{}
			for _, way := range b.bothWays() {
				t.Run(way.name, func(t *testing.T) { stored[way.name] = c.run(t, b, way, fmt.Sprint("e", i)) })
			}
			if !t.Failed() {
				require.Equal(t, stored["go"], stored["sql"], "Go and SQL store the same")
			}
		})
	}
}
