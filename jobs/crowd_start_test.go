package jobs

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// crowdOf is a process's view of a crowd that lasts.
func (b *gateBundle) crowdOf(partners ...uuid.UUID) *crowd {
	c := &crowd{gate: b.gate, logger: slog.New(slog.DiscardHandler), partners: partners}
	c.until.Store(time.Now().Add(crowdLasts).UnixNano())
	c.freshAt = time.Now()
	return c
}

func TestCrowdNarrowsTheFetch(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		stuck              bool
		wanted, overtaking int
		want               int
	}{
		"nothing is known":                   {false, 10, 0, 3}, // the bound of a user
		"nothing is known, some overtake":    {false, 10, 2, 5},
		"nothing is known, many overtake":    {false, 10, 9, 10},
		"some are under way":                 {false, 8, 0, 1},
		"as many are under way as may be":    {false, 7, 0, 0},
		"and some overtake":                  {false, 6, 4, 4},
		"more overtake than there are slots": {false, 2, 5, 2},
		"it holds us up":                     {true, 10, 0, 0},
		"it holds us up, some overtake":      {true, 10, 4, 4},
		"it holds us up, many overtake":      {true, 3, 4, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(b *gateBundle) {
				c := b.crowdOf(uuid.New())
				require.False(b.t, c.narrows(), "no worker that works already is held up by what others say")
				c.fresh.Store(!test.stuck)
				c.stuck.Store(test.stuck)
				require.True(b.t, c.narrows())
				require.Equal(b.t, test.want, c.fetchLimit(test.wanted, test.overtaking))
				require.Equal(b.t, test.want < test.wanted, c.cut.Load())
				time.Sleep(crowdLasts)
				require.False(b.t, c.narrows(), "nobody says it any more")
			})
		})
	}
}

// A process is held up by a crowd of which it holds some back, unless that moves.
func TestCrowdHoldsUp(t *testing.T) {
	t.Parallel()
	acme, beta := aPartner("anna", 1, 0), aPartner("bert", 2, 0)
	inBubble(t, nil, func(b *gateBundle) {
		t := b.t
		c := b.crowdOf(acme.ID)
		c.fresh.Store(true)
		c.look(t.Context(), b.isNew(), nil)
		require.True(t, c.fresh.Load(), "no request has begun yet")
		first := b.in(t, acme)
		c.look(t.Context(), b.isNew(), nil)
		require.True(t, c.fresh.Load(), "it has just begun")
		time.Sleep(coldPatience)
		c.look(t.Context(), b.isNew(), []uuid.UUID{beta.ID})
		require.False(t, c.fresh.Load())
		require.False(t, c.there(), "another is held back")
		c.look(t.Context(), b.isNew(), []uuid.UUID{acme.ID})
		require.True(t, c.there())
		c.look(t.Context(), b.isNew(), nil)
		require.True(t, c.there(), "it was a moment ago")

		first.leave()
		for range 5 {
			b.in(t, acme).leave()
		}
		c.look(t.Context(), b.isNew(), []uuid.UUID{acme.ID})
		require.False(t, c.there(), "it is quick")
		time.Sleep(2 * time.Second)
		c.look(t.Context(), b.isNew(), nil)
		require.True(t, c.there(), "it was held back lately, and is not quick any more")
		time.Sleep(time.Second)
		c.look(t.Context(), b.isNew(), nil)
		require.False(t, c.there(), "it is over")
	})
}

// Whoever has a full head of the queue when a process begins is overtaken until more is known.
func TestCrowdIsForeseen(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	acme, beta, few := uuid.New(), uuid.New(), uuid.New()
	fill := func(partner string, count int) {
		t.Helper()
		_, err := pool.Exec(t.Context(), `
			insert into river_job (kind, queue, priority, max_attempts, state, args)
			select 'webhook_delivery', 'webhooks', 2, 6, 'available', jsonb_build_object('delivery_id', gen_random_uuid(), 'partner_id', $1::text)
			  from generate_series(1, $2)`, partner, count)
		require.NoError(t, err)
	}
	c := &crowd{pool: pool, logger: slog.New(slog.DiscardHandler), gate: newGate(gateConfig{})}
	foreseen := func() []uuid.UUID {
		t.Helper()
		require.NoError(t, c.foresee(t.Context()))
		require.Equal(t, c.fresh.Load(), c.lasts())
		partners, err := collect(t.Context(), pool, pgx.RowTo[uuid.UUID], `select partner_id from webhook_crowd where until > now() order by partner_id`)
		require.NoError(t, err)
		require.Equal(t, len(partners) > 0, c.lasts())
		return partners
	}
	require.Empty(t, foreseen())
	fill(few.String(), 5)
	fill("no uuid", 100)
	fill(acme.String(), heldLook/2)
	require.Empty(t, foreseen(), "it is soon done")
	fill(beta.String(), heldLook)
	require.ElementsMatch(t, []uuid.UUID{acme, beta}, foreseen())

	// What has not come by then is over, and what was enqueued meanwhile is like any other.
	priorities := func() []int {
		t.Helper()
		list, err := collect(t.Context(), pool, pgx.RowTo[int], `select distinct priority::integer from river_job order by 1`)
		require.NoError(t, err)
		return list
	}
	_, err := pool.Exec(t.Context(), `update river_job set priority = 3 where id in (select id from river_job where args->>'partner_id' = $1 limit 3)`, beta.String())
	require.NoError(t, err)
	require.NoError(t, c.turn(t.Context(), true, nil, nil))
	require.True(t, c.fresh.Load())
	require.NoError(t, c.turn(t.Context(), false, nil, nil))
	require.False(t, c.fresh.Load())
	require.Equal(t, []int{2, 3}, priorities())
	c.freshAt = c.freshAt.Add(-crowdLasts)
	require.NoError(t, c.turn(t.Context(), false, nil, nil))
	require.Equal(t, []int{2}, priorities())
}
