package jobs

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/partners"
)

// keeperBundle is what one worker process has of partners' health.
type keeperBundle struct {
	*healthKeeper

	pool *pgxpool.Pool
}

// newKeeper makes a process's keeper, whose circuits open at 4 failures.
func newKeeper(t *testing.T, pool *pgxpool.Pool, disableAfter time.Duration) *keeperBundle {
	t.Helper()
	keeper := &healthKeeper{
		pool: pool, logger: slog.New(slog.NewTextHandler(t.Output(), nil)), circuitFailures: 4, disableAfter: disableAfter,
		timeout: 10 * time.Second, news: make(chan struct{}, 1),
	}
	keeper.gate = newGate(gateConfig{
		partnerLimit: 5, userLimit: 5, circuitFailures: 4, maxDelay: time.Hour, now: time.Now, urgent: keeper.tell, claimProbe: keeper.claimProbe,
	})
	return &keeperBundle{keeper, pool}
}

// addPartner adds a partner with as little as there must be.
func addPartner(t *testing.T, pool *pgxpool.Pool, slug string) *partners.Partner {
	t.Helper()
	partner := &partners.Partner{UserID: "anna", Slug: slug}
	require.NoError(t, pool.QueryRow(t.Context(), `
		insert into partner_webhooks (user_id, partner_name, partner_slug, url, secret_ciphertext, secret_key_id, enabled_events)
		values ($1, $2, $2, 'https://partner.example/', '\x00', 'none', '{*}') returning id`, partner.UserID, slug).Scan(&partner.ID))
	return partner
}

// of is what the database says of a partner; nil: it is well.
func (b *keeperBundle) of(t *testing.T, partner *partners.Partner) *Health {
	t.Helper()
	health, _, err := HealthOf(t.Context(), b.pool, partner.ID)
	require.NoError(t, err)
	return health
}

func (b *keeperBundle) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	_, err := b.pool.Exec(t.Context(), statement, args...)
	require.NoError(t, err)
}

// fail has a try of each of the deliveries fail.
func (b *keeperBundle) fail(partner *partners.Partner, deliveries ...uuid.UUID) {
	for _, id := range deliveries {
		b.gate.observe(partner, id, wentWrong("500"))
	}
}

func TestKeeperKeepsWhatCouldNotBeWritten(t *testing.T) {
	t.Parallel()
	pool, ids := testdb.New(t), deliveryIDs(4)
	b, acme := newKeeper(t, pool, -1), addPartner(t, pool, "acme")
	b.fail(acme, ids[0], ids[1])
	b.exec(t, `alter table webhook_partner_health rename to away`)
	require.Error(t, b.keep(t.Context()))
	b.fail(acme, ids[1])
	require.Error(t, b.keep(t.Context()))
	b.exec(t, `alter table away rename to webhook_partner_health`)
	require.NoError(t, b.keep(t.Context()))
	health := b.of(t, acme)
	require.Equal(t, 3, health.Failures)
	require.ElementsMatch(t, ids[:2], health.FailedDeliveries)
	require.Nil(t, health.OpenedAt)
	require.NoError(t, b.keep(t.Context()))
	require.Equal(t, 3, b.of(t, acme).Failures, "each counts once")

	b.gate.observe(acme, ids[0], wellDone())
	b.exec(t, `alter table webhook_partner_health rename to away`)
	require.Error(t, b.keep(t.Context()))
	b.exec(t, `alter table away rename to webhook_partner_health`)
	b.fail(acme, ids[3])
	require.NoError(t, b.keep(t.Context()))
	require.Equal(t, 1, b.of(t, acme).Failures, "the delivered one came before")
}

// What two processes see of a partner counts together.
func TestKeepersOpenACircuitTogether(t *testing.T) {
	t.Parallel()
	pool, ids := testdb.New(t), deliveryIDs(5)
	one, two, acme := newKeeper(t, pool, -1), newKeeper(t, pool, -1), addPartner(t, pool, "acme")
	one.fail(acme, ids[:2]...)
	require.NoError(t, one.keep(t.Context()))
	two.fail(acme, ids[1], ids[1], ids[1])
	require.NoError(t, two.keep(t.Context()))
	health := two.of(t, acme)
	require.Equal(t, 5, health.Failures)
	require.Nil(t, health.OpenedAt, "two deliveries are not enough")
	two.fail(acme, ids[2])
	require.NoError(t, two.keep(t.Context()))
	health = two.of(t, acme)
	require.NotNil(t, health.OpenedAt)
	require.Equal(t, firstProbe, health.ProbeAt.Sub(*health.OpenedAt))
	_, err := one.gate.enter(t.Context(), acme, false)
	require.NoError(t, err, "it has not heard")
	require.NoError(t, one.keep(t.Context()))
	_, err = one.gate.enter(t.Context(), acme, false)
	require.ErrorIs(t, err, errCircuitOpen)

	one.gate.observe(acme, ids[0], wellDone())
	require.NoError(t, one.keep(t.Context()))
	require.Nil(t, one.of(t, acme))
	require.NoError(t, two.keep(t.Context()))
	_, err = two.gate.enter(t.Context(), acme, false)
	require.NoError(t, err)
}

func TestOneProbeOfAllWorkersAtATime(t *testing.T) {
	t.Parallel()
	pool, ids := testdb.New(t), deliveryIDs(4)
	b, acme := newKeeper(t, pool, -1), addPartner(t, pool, "acme")
	granted, err := b.claimProbe(t.Context(), acme.ID)
	require.NoError(t, err)
	require.False(t, granted, "it does not fail")
	b.fail(acme, ids...)
	require.NoError(t, b.keep(t.Context()))
	for i, wait := range []time.Duration{2 * firstProbe, 4 * firstProbe, maxProbe, maxProbe, maxProbe} {
		granted, err := b.claimProbe(t.Context(), acme.ID)
		require.NoError(t, err)
		require.False(t, granted, "it is not due")
		b.exec(t, `update webhook_partner_health set probe_at = now()`)
		var (
			group sync.WaitGroup
			count atomic.Int32
		)
		for range 8 {
			group.Go(func() {
				if granted, err := b.claimProbe(t.Context(), acme.ID); err != nil {
					t.Errorf("claiming: %v", err)
				} else if granted {
					count.Add(1)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 1, count.Load())
		health := b.of(t, acme)
		require.Equal(t, i+1, health.Probes)
		require.WithinDuration(t, time.Now().Add(b.timeout+probeMargin), *health.ProbeAt, 5*time.Second, "as long as it may take")
		b.fail(acme, ids[0])
		require.NoError(t, b.keep(t.Context()))
		require.WithinDuration(t, time.Now().Add(wait), *b.of(t, acme).ProbeAt, 4*time.Second, "less often each time")
	}
}

func TestKeeperDisables(t *testing.T) {
	t.Parallel()
	pool, ids := testdb.New(t), deliveryIDs(4)
	b, acme, beta := newKeeper(t, pool, time.Hour), addPartner(t, pool, "acme"), addPartner(t, pool, "beta")
	enabled := func() (slugs []string) {
		require.NoError(t, pool.QueryRow(t.Context(), `select coalesce(array_agg(partner_slug order by 1), '{}') from partner_webhooks where enabled`).Scan(&slugs))
		return slugs
	}
	b.fail(acme, ids[0])
	b.fail(beta, ids[0])
	require.NoError(t, b.keep(t.Context()))
	b.exec(t, `update webhook_partner_health set failing_since = now() - interval '59 min' where partner_id = $1`, beta.ID)
	b.exec(t, `update webhook_partner_health set failing_since = now() - interval '61 min' where partner_id = $1`, acme.ID)
	require.NoError(t, b.keep(t.Context()))
	require.Equal(t, []string{"acme", "beta"}, enabled(), "no try has failed since")
	b.fail(acme, ids[0])
	b.fail(beta, ids[0])
	require.NoError(t, b.keep(t.Context()))
	require.Equal(t, []string{"beta"}, enabled())
	b.fail(acme, ids[0])
	require.NoError(t, b.keep(t.Context()))
	require.Nil(t, b.of(t, acme), "what comes late says nothing")
}

func TestReserveByRateLimit(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	acme, beta := addPartner(t, pool, "acme"), addPartner(t, pool, "beta")
	first, second := newRates(pool), newRates(pool) // of two processes
	ask := func(r *rates, partner uuid.UUID, rate, count int) (waits []time.Duration) {
		wanted := make([]reservation, count)
		for i := range wanted {
			wanted[i] = reservation{partner, rate, r.last.Add(1)}
		}
		granted, err := r.reserveMany(t.Context(), wanted)
		require.NoError(t, err)
		for _, one := range wanted {
			if wait, ok := granted[one]; ok {
				waits = append(waits, wait)
			}
		}
		return waits
	}
	waits := ask(first, acme.ID, 10, 4)
	require.Len(t, waits, 4)
	for i, wait := range waits {
		require.InDelta(t, 0.1*float64(i), wait.Seconds(), 0.001)
	}
	begun := time.Now()
	waits = ask(second, acme.ID, 10, 100)
	late := time.Since(begun).Seconds() + 0.1
	require.InDelta(t, 0.4, waits[0].Seconds(), late, "after what others have")
	require.InDelta(t, 12, len(waits), 1+10*late, "as many as there are within rateAhead")
	require.LessOrEqual(t, waits[len(waits)-1], rateAhead)
	require.Empty(t, ask(first, acme.ID, 1, 1), "and no more")
	require.Len(t, ask(first, beta.ID, 10, 1), 1, "each partner has its own")
	require.Empty(t, ask(first, uuid.New(), 10, 1), "a partner that was deleted")
}
