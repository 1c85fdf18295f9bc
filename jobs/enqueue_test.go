package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertest"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/migrations"
	"github.com/epicvoice/webhook-worker/partners"
)

const nowhere = "https://partner.example/hook"

func slugs(deliveries []jobs.Delivery) []string {
	list := make([]string, len(deliveries))
	for i, delivery := range deliveries {
		list[i] = delivery.PartnerSlug
	}
	return list
}

func TestEnqueueFansOutToSubscribedPartners(t *testing.T) {
	t.Parallel()
	b := setup(t)
	exact := b.partner(t, user, "exact", nowhere, "call.completed")
	b.partner(t, user, "all", nowhere, "*")
	b.partner(t, user, "prefix", nowhere, "call.*")
	b.partner(t, user, "other-event", nowhere, "call.failed")
	b.partner(t, user, "other-prefix", nowhere, "calls.*", "call.completed.*")
	b.partner(t, user, "off", nowhere, "*")
	_, err := b.store.Disable(t.Context(), user, "off", "tired")
	require.NoError(t, err)
	b.partner(t, "somebody-else", "exact", nowhere, "*")

	deliveries := b.enqueue(t, completed("e1"))

	require.Equal(t, []string{"all", "exact", "prefix"}, slugs(deliveries))
	require.Equal(t, exact.ID, deliveries[1].PartnerID)
	for _, delivery := range deliveries {
		var (
			args  string
			state string
			queue string
			tries int
		)
		require.NoError(t, b.pool.QueryRow(t.Context(),
			`select args::text, state, queue, max_attempts from river_job where id = $1 and kind = 'webhook_delivery'`, delivery.JobID,
		).Scan(&args, &state, &queue, &tries))
		require.JSONEq(t, `{"version":1,"delivery_id":"`+delivery.ID.String()+`","user_id":"user_123","partner_id":"`+
			delivery.PartnerID.String()+`","event_id":"e1","event_type":"call.completed"}`, args)
		require.Equal(t, "available", state)
		require.Equal(t, "webhooks", queue)
		require.Equal(t, 6, tries)
	}
	require.Equal(t, 3, b.count(t, "river_job"))
}

func TestEnqueueStoresAnEventThatNobodyWants(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Empty(t, b.enqueue(t, completed("e1")))
	require.Empty(t, b.enqueue(t, completed("e1")))
	require.Equal(t, 1, b.count(t, "webhook_events where partner_ids = '{}' and delivery_ids = '{}'"))
}

func TestEnqueueMakesAnID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.enqueue(t, completed(""))
	b.enqueue(t, completed(""))
	require.Equal(t, 2, b.count(t, "webhook_events"))
}

// What is enqueued at one time has its index entries on the same pages.
func TestNewIDsBeginWithTheTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme := b.partner(t, user, "acme", nowhere, "*")
	b.partner(t, user, "bolt", nowhere, "*", "partner.failing")
	b.enqueue(t, &jobs.Event{UserID: user, Type: "call.completed", Payload: json.RawMessage(`{}`)})
	for _, statement := range []string{
		`select enqueue_webhook_event('user_123', 'call.completed', '{}')`,
		`update webhook_events set partner_ids = '{}', delivery_ids = '{}' where event_id = (select min(event_id) from webhook_events)`,
		`select recover_webhook_delivery(user_id, event_id, '` + acme.ID.String() + `') from webhook_events where partner_ids = '{}'`,
		`select webhook_emit_operational_event('user_123', 'partner.failing', 'told', '` + acme.ID.String() + `', '{}')`,
	} {
		_, err := b.pool.Exec(t.Context(), statement)
		require.NoError(t, err)
	}

	rows, err := b.pool.Query(t.Context(), `
		select event_id::uuid from webhook_events where event_id <> 'told' union all select unnest(delivery_ids) from webhook_events`)
	require.NoError(t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	require.NoError(t, err)
	require.Len(t, ids, 2+2+1+1, "ids of the events and of their deliveries, one of which was replaced")
	for _, id := range ids {
		require.EqualValues(t, 7, id.Version(), id)
		require.Equal(t, uuid.RFC4122, id.Variant(), id)
		require.WithinDuration(t, time.Now(), time.Unix(id.Time().UnixTime()), time.Minute)
	}
}

func TestEnqueueKeepsThePayloadsBytes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	payload := "{ \"zebra\":1,\n\t\"alpha\": 2.50, \"big\":12345678901234567890, \"a\":\"<&>\\u0000\", \"a\":null }"
	event := completed("e1")
	event.Payload = json.RawMessage(payload)
	b.enqueue(t, event)
	var stored string
	require.NoError(t, b.pool.QueryRow(t.Context(), `select payload::text from webhook_events`).Scan(&stored))
	require.Equal(t, payload, stored)
	b.enqueue(t, event) // the same bytes are the same event
}

func TestEnqueueRefusesBadEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, spoil := range map[string]func(*jobs.Event){
		"user_id must not be empty":              func(e *jobs.Event) { e.UserID = "" },
		"user_id \"a\\x00b\" must not contain":   func(e *jobs.Event) { e.UserID = "a\x00b" },
		"event_id":                               func(e *jobs.Event) { e.ID = strings.Repeat("x", 256) },
		"event_type \"call..x\" must be parts":   func(e *jobs.Event) { e.Type = "call..x" },
		"payload must be a JSON object":          func(e *jobs.Event) { e.Payload = json.RawMessage(`[]`) },
		"payload must have at most 262144 bytes": func(e *jobs.Event) { e.Payload = json.RawMessage(`{"a":"` + strings.Repeat("x", 256<<10) + `"}`) },
		"payload must be valid UTF-8":            func(e *jobs.Event) { e.Payload = json.RawMessage("{\"a\":\"\xff\"}") },
		"payload must not nest more than 500": func(e *jobs.Event) {
			e.Payload = json.RawMessage(`{"a":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`)
		},
		"payload must be a JSON object, and is not": func(e *jobs.Event) { e.Payload = nil },
	} {
		event := completed("e1")
		spoil(event)
		_, err := b.tryEnqueue(t.Context(), event)
		_, ok := errors.AsType[*partners.ValidationError](err)
		require.True(t, ok, "%s: %v", name, err)
		require.ErrorContains(t, err, name)
	}
	require.Zero(t, b.count(t, "webhook_events"))

	biggest := completed("e1")
	biggest.Payload = json.RawMessage(`{"a":"` + strings.Repeat("x", 256<<10-8) + `"}`)
	require.Len(t, biggest.Payload, 256<<10)
	b.enqueue(t, biggest)
}

func TestEnqueueRollsBackWithTheApplication(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	deliveries, err := b.enqueuer.EnqueueTx(t.Context(), tx, completed("e1"))
	require.NoError(t, err)
	require.Len(t, deliveries, 1)
	require.NoError(t, tx.Rollback(t.Context()))
	require.Zero(t, b.count(t, "webhook_events"))
	require.Zero(t, b.count(t, "river_job"))
}

func TestEnqueueReadsTriesFromDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "a-default", nowhere, "*")
	for slug, retries := range map[string]int{"b-none": 0, "c-nine": 9} {
		_, _, err := b.store.Create(t.Context(), user, &partners.Params{
			Name: slug, Slug: slug, URL: nowhere, EnabledEvents: []string{"*"}, MaxRetries: &retries,
		})
		require.NoError(t, err)
	}
	before, changed, err := jobs.SaveRetryMaxAttempts(t.Context(), b.pool, 2)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, 5, before)
	_, changed, err = jobs.SaveRetryMaxAttempts(t.Context(), b.pool, 2)
	require.NoError(t, err)
	require.False(t, changed)

	b.enqueue(t, completed("e1"))
	rows, err := b.pool.Query(t.Context(), `select max_attempts from river_job order by id`)
	require.NoError(t, err)
	tries, err := pgx.CollectRows(rows, pgx.RowTo[int])
	require.NoError(t, err)
	require.Equal(t, []int{3, 1, 10}, tries)
}

// roundTrips counts the queries of a connection.
type roundTrips struct{ n int }

func (r *roundTrips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	r.n++
	return ctx
}

func (r *roundTrips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestEnqueueTakesAtMostFourRoundTrips(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for slug := range strings.SplitSeq("a b c d e f g h i j k l m n o p q r s t u v w x y z", " ") {
		b.partner(t, user, slug, nowhere, "*")
	}
	config, err := pgxpool.ParseConfig(testdb.URL(b.pool))
	require.NoError(t, err)
	trips := &roundTrips{}
	config.ConnConfig.Tracer = trips
	traced, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer traced.Close()

	for name, event := range map[string]*jobs.Event{"26 partners": completed("e1"), "repeated": completed("e1")} {
		tx, err := traced.Begin(t.Context())
		require.NoError(t, err)
		trips.n = 0
		deliveries, err := b.enqueuer.EnqueueTx(t.Context(), tx, event)
		require.NoError(t, err)
		require.Len(t, deliveries, 26)
		require.LessOrEqual(t, trips.n, 4, name)
		require.Positive(t, trips.n)
		require.NoError(t, tx.Commit(t.Context()))
	}
}

func TestEnqueueWakesWorkersAtCommit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	listener, err := pgx.Connect(t.Context(), testdb.URL(b.pool))
	require.NoError(t, err)
	defer func() { _ = listener.Close(t.Context()) }()
	_, err = listener.Exec(t.Context(), `listen "public.river_insert"`)
	require.NoError(t, err)

	// Each commit wakes, also one that follows another at once.
	for _, id := range []string{"e1", "e2", "e3"} {
		b.enqueue(t, completed(id))
		bounded, cancel := context.WithTimeout(t.Context(), waitFor)
		notification, err := listener.WaitForNotification(bounded)
		cancel()
		require.NoError(t, err)
		require.JSONEq(t, `{"queue":"webhooks"}`, notification.Payload)
	}
}

func TestEnqueueWithTheApplicationsRiverClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[otherArgs]) error { return nil }))

	for name, config := range map[string]*river.Config{
		"it only inserts":                {},
		"it works and skips the check":   {Workers: workers, SkipUnknownJobCheck: true},
		"it works and does not know us ": {Workers: workers},
		"its schema is ours":             {Schema: "public"},
		"its schema is another":          {Schema: "elsewhere"},
	} {
		client, err := river.NewClient(riverpgxv5.New(b.pool), config)
		require.NoError(t, err)
		enqueuer, err := jobs.NewEnqueuer(&jobs.EnqueuerConfig{Client: client})
		require.NoError(t, err)
		tx, err := b.pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = enqueuer.EnqueueTx(t.Context(), tx, completed(name))
		switch {
		case config.Workers != nil && !config.SkipUnknownJobCheck:
			require.ErrorContains(t, err, "SkipUnknownJobCheck")
		case config.Schema == "elsewhere":
			require.ErrorContains(t, err, `uses schema "elsewhere", and deliveries are worked in "public"`)
		default:
			require.NoError(t, err)
			rivertest.RequireInsertedTx[*riverpgxv5.Driver](t.Context(), t, tx, jobs.DeliveryArgs{}, nil)
		}
		require.NoError(t, tx.Rollback(t.Context()))
	}
}

// An application that works jobs of its own keeps them apart from ours, in another schema.
func TestEnqueueIntoASchemaOfOurOwn(t *testing.T) {
	t.Parallel()
	empty := testdb.NewEmpty(t)
	_, err := empty.Exec(t.Context(), `create schema webhooks`)
	require.NoError(t, err)
	ours, err := pgxpool.New(t.Context(), testdb.URL(empty)+"&search_path=webhooks")
	require.NoError(t, err)
	defer ours.Close()
	require.NoError(t, migrations.Up(t.Context(), ours, slog.New(slog.DiscardHandler)))
	theirs, err := pgxpool.New(t.Context(), testdb.URL(empty)+"&search_path=public,webhooks")
	require.NoError(t, err)
	defer theirs.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(theirs), &rivermigrate.Config{Schema: "public", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)

	_, _, err = newStore(t, ours).Create(t.Context(), user, &partners.Params{
		Name: "Acme", Slug: "acme", URL: nowhere, EnabledEvents: []string{"*"},
	})
	require.NoError(t, err)
	client, err := river.NewClient(riverpgxv5.New(theirs), &river.Config{Schema: "webhooks"})
	require.NoError(t, err)
	enqueuer, err := jobs.NewEnqueuer(&jobs.EnqueuerConfig{Client: client})
	require.NoError(t, err)
	var first, again []jobs.Delivery
	for _, deliveries := range []*[]jobs.Delivery{&first, &again} {
		require.NoError(t, pgx.BeginFunc(t.Context(), theirs, func(tx pgx.Tx) (err error) {
			*deliveries, err = enqueuer.EnqueueTx(t.Context(), tx, completed("e1"))
			return err
		}))
	}
	require.Len(t, first, 1)
	require.Equal(t, first, again)
	for table, want := range map[string]int{"webhooks.river_job": 1, "public.river_job": 0} {
		var n int
		require.NoError(t, theirs.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n))
		require.Equal(t, want, n, table)
	}
}

type otherArgs struct{}

func (otherArgs) Kind() string { return "other" }

func TestEnqueueTestGoesToOnePartner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "other", nowhere, "*")
	partner := b.partner(t, user, "acme", nowhere, "call.failed")
	send := func(id uuid.UUID) (delivery *jobs.Delivery, err error) {
		err = pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
			delivery, err = b.enqueuer.EnqueueTestTx(t.Context(), tx, completed(""), id)
			return err
		})
		return delivery, err
	}
	delivery, err := send(partner.ID)
	require.NoError(t, err)
	require.Equal(t, "acme", delivery.PartnerSlug)
	require.Equal(t, 1, b.count(t, `river_job where metadata->>'trigger' = 'test' and max_attempts = 1`))
	_, err = send(uuid.New())
	require.ErrorIs(t, err, partners.ErrNotFound)
	require.Equal(t, 1, b.count(t, "webhook_events"))
}

func TestOneJobADelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "acme", nowhere, "*")
	b.enqueue(t, completed("e1"))
	_, err := b.pool.Exec(t.Context(), `
		insert into river_job (args, kind, max_attempts, queue) select args, kind, max_attempts, queue from river_job`)
	require.ErrorContains(t, err, "river_job_webhook_delivery_id_idx")
}

// applicationClock is the clock of an application's host.
type applicationClock struct{ wrong time.Duration }

func (c applicationClock) Now() time.Time { return time.Now().Add(c.wrong) }

func (c applicationClock) NowOrNil() *time.Time { return new(c.Now()) }

// What is due is decided by the database's clock, whatever the application's host thinks the time is.
func TestEnqueueWithAWrongClock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.partner(t, user, "one", nowhere, "*")
	b.partner(t, user, "two", nowhere, "*")
	for _, wrong := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		client, err := river.NewClient(riverpgxv5.New(b.pool), &river.Config{Test: river.TestConfig{Time: applicationClock{wrong}}})
		require.NoError(t, err)
		enqueuer, err := jobs.NewEnqueuer(&jobs.EnqueuerConfig{Client: client})
		require.NoError(t, err)
		require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
			_, err := enqueuer.EnqueueTx(t.Context(), tx, completed(wrong.String()))
			return err
		}))
	}
	require.Equal(t, 4, b.count(t, `river_job where scheduled_at between now() - interval '1 minute' and now() and created_at = scheduled_at and state = 'available'`))
}
