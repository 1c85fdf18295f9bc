package jobs_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// crowded says that a partner's deliveries crowd the queue, for as long as given.
func (b *testBundle) crowded(t *testing.T, partner *partners.Partner, lasts string) {
	t.Helper()
	b.exec(t, `insert into webhook_crowd (partner_id, until) values ($1, now() + $2::text::interval)
	           on conflict (partner_id) do update set until = excluded.until`, partner.ID.String(), lasts)
}

// While a held partner's deliveries fill the head of the queue, others' do not wait until they are moved away.
func TestOthersOvertakeACrowd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead, well, late := newEndpoint(t, status(http.StatusOK)), newEndpoint(t, status(http.StatusOK)), newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", dead.URL, "*")
	b.partner(t, "behind", "well", well.URL, "*")
	b.partner(t, "later", "well", late.URL, "*")
	b.circuit(t, acme, time.Hour)
	const many = 30_000
	b.enqueue(t, completed("e1"))
	b.exec(t, `
		insert into river_job (kind, queue, priority, max_attempts, args, metadata)
		select kind, queue, priority, max_attempts, args || jsonb_build_object('delivery_id', gen_random_uuid()), metadata
		  from river_job, generate_series(2, $1)`, many)
	b.enqueueMany(t, "behind", 20)
	b.exec(t, `analyze river_job`)
	atHead := func() int {
		return b.count(t, `river_job where queue = 'webhooks' and args->>'partner_id' = $1`, acme.ID.String())
	}

	b.run(t, func(cfg *jobs.RunnerConfig) { cfg.CircuitFailures = 20 })
	require.Eventually(t, func() bool { return b.count(t, `webhook_crowd where until > now()`) == 1 }, waitFor, look)
	well.requireEachOnce(t, 20)
	require.Greater(t, atHead(), many/4, "what was behind them did not wait")
	for i, way := range b.bothWays() {
		begun := time.Now()
		require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
			event := completed(way.name)
			event.UserID = "later"
			_, err := way.event(t.Context(), tx, event)
			return err
		}))
		late.requireEachOnce(t, i+1)
		require.Positive(t, atHead(), way.name)
		t.Log(way.name, "arrived after", time.Since(begun), "with", atHead(), "at the head")
	}
	require.Equal(t, 2, b.count(t, `river_job where args->>'user_id' = 'later' and priority = 1`))

	// It ends, and all that is left is as usual.
	b.exec(t, `
		update river_job set queue = 'webhooks-held-' || (args->>'partner_id')
		 where id in (select id from river_job where queue = 'webhooks' and state = 'available' and args->>'partner_id' = $1 for update skip locked)`, acme.ID.String())
	require.Eventually(t, func() bool { return b.count(t, `webhook_crowd where until > now()`) == 0 }, waitFor, look)
	require.Equal(t, 1, b.count(t, `(select webhook_delivery_priority($1) as priority) as now where priority = 2`, acme.ID.String()))
	b.enqueueMany(t, "later", 1)
	late.requireEachOnce(t, 3)
	require.Zero(t, atHead())
	require.Empty(t, dead.received())
}

// A worker that is told of a crowd by others, and to whom its partner answers, delivers that too.
func TestCrowdOfOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, well := newEndpoint(t, status(http.StatusOK)), newEndpoint(t, status(http.StatusOK))
	acme := b.partner(t, user, "acme", e.URL, "*")
	b.partner(t, user, "well", well.URL, "*")
	b.crowded(t, acme, "1 hour")
	b.enqueueMany(t, user, 20)
	require.Equal(t, 20, b.count(t, `river_job where priority = 3 and args->>'partner_id' = $1`, acme.ID.String()))
	require.Equal(t, 20, b.count(t, `river_job where priority = 1`))
	b.run(t, nil)
	well.requireEachOnce(t, 20)
	e.requireEachOnce(t, 20)
	b.enqueueMany(t, user, 20) // it knows by now
	well.requireEachOnce(t, 40)
	e.requireEachOnce(t, 40)
}

// Go and SQL give a new delivery the same priority.
func TestPrioritySpec(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		crowds     map[string]string // partners by slug, and how long they crowd the queue
		acme, zeta int
	}{
		"nobody":       {nil, 2, 2},
		"one":          {map[string]string{"acme": "1 hour"}, 3, 1},
		"the other":    {map[string]string{"zeta": "1 hour"}, 1, 3},
		"both":         {map[string]string{"acme": "1 hour", "zeta": "1 hour"}, 3, 3},
		"a third":      {map[string]string{"third": "1 hour"}, 1, 1},
		"it is over":   {map[string]string{"acme": "-1 ms"}, 2, 2},
		"one is over":  {map[string]string{"acme": "1 hour", "zeta": "-1 ms"}, 3, 1},
		"all are over": {map[string]string{"acme": "-1 hour", "zeta": "-1 ms"}, 2, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			acme := b.partner(t, user, "acme", nowhere, "call.*", "partner.*")
			b.partner(t, user, "zeta", nowhere, "call.*", "partner.*")
			third := b.partner(t, "somebody else", "third", nowhere, "*")
			old := b.enqueue(t, completed("old"))
			b.exec(t, `update river_job set state = 'cancelled', finalized_at = now()`)
			for slug, lasts := range test.crowds {
				partner := third
				if slug != "third" {
					var err error
					partner, err = b.store.Get(t.Context(), user, slug)
					require.NoError(t, err)
				}
				b.crowded(t, partner, lasts)
			}
			want := []string{fmt.Sprint("acme ", test.acme), fmt.Sprint("zeta ", test.zeta)}
			made := func() []string {
				return b.column(t, `
					delete from river_job j using partner_webhooks p where p.id::text = j.args->>'partner_id' and state = 'available'
					returning p.partner_slug || ' ' || j.priority`)
			}
			for _, way := range b.bothWays() {
				for _, enqueue := range []func(tx pgx.Tx) error{
					func(tx pgx.Tx) error {
						_, err := way.event(t.Context(), tx, completed(way.name))
						return err
					},
					func(tx pgx.Tx) error {
						_, err := way.outcome(t.Context(), tx, user, way.name, `{"event_type":"call.failed"}`)
						return err
					},
				} {
					require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, enqueue))
					require.ElementsMatch(t, want, made(), way.name)
				}
			}
			for _, delivery := range old {
				require.Equal(t, jobs.Replayed, b.replay(t, delivery.ID))
			}
			require.ElementsMatch(t, want, made(), "replayed")
			_, err := b.pool.Exec(t.Context(), `update partner_webhooks set enabled = false where partner_slug = 'zeta'`)
			require.NoError(t, err)
			require.Equal(t, want[:1], made(), "an operational event")

			var delivery *jobs.Delivery
			require.NoError(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) (err error) {
				delivery, err = b.enqueuer.EnqueueTestTx(t.Context(), tx, completed(""), acme.ID)
				return err
			}))
			require.Equal(t, 1, b.count(t, `river_job where id = $1 and priority = 1`, delivery.JobID), "a test comes first")
		})
	}
}
