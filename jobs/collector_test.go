package jobs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// What can't be counted any more is not said any more, while the ages go on; and it is soon tried again.
func TestCollectorDropsCountsThatFail(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	c := &collector{pool: pool, leads: func() bool { return true }}
	turn := func() (*queueCounts, *queueAges, error) {
		c.agesAt, c.countAt = time.Time{}, time.Time{}
		err := c.turn(t.Context())
		counts, ages := c.state()
		return counts, ages, err
	}
	counts, before, err := turn()
	require.NoError(t, err)
	require.WithinRange(t, counts.At, time.Now().Add(-time.Minute), time.Now().Add(time.Minute))
	require.NotNil(t, before)

	_, err = pool.Exec(t.Context(), `alter view webhook_deliveries rename to elsewhere`)
	require.NoError(t, err)
	counts, ages, err := turn()
	require.ErrorContains(t, err, "webhook_deliveries")
	require.Nil(t, counts)
	require.True(t, ages.At.After(before.At))
	require.WithinRange(t, c.countAt, time.Now(), time.Now().Add(collectInterval))

	_, err = pool.Exec(t.Context(), `alter view elsewhere rename to webhook_deliveries`)
	require.NoError(t, err)
	counts, _, err = turn()
	require.NoError(t, err)
	require.NotNil(t, counts)

	// One that waits for a lock gives up.
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	_, err = tx.Exec(t.Context(), `lock table partner_webhooks in access exclusive mode`)
	require.NoError(t, err)
	require.ErrorContains(t, c.count(t.Context()), "lock timeout")
	counts, _ = c.state()
	require.Nil(t, counts)
	require.WithinRange(t, c.countAt, time.Now(), time.Now().Add(collectInterval))
}
