package jobs_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// logAt puts attempts of past times on record, n of each age.
func (b *testBundle) logAt(t *testing.T, n int, ages ...string) {
	t.Helper()
	require.Equal(t, n*len(ages), b.exec(t, `
		insert into webhook_delivery_log (attempt_id, job_id, attempt, trigger, outcome, client_id, started_at)
		select gen_random_uuid(), 1, 1, 'schedule', 'delivered', 'c', now() - age
		  from unnest($1::text[]::interval[]) as age
		 cross join generate_series(1, $2)`, ages, n))
}

// weekOf is the first time of the week that holds a time so long ago.
func (b *testBundle) weekOf(t *testing.T, age string) (week time.Time) {
	t.Helper()
	require.NoError(t, b.pool.QueryRow(t.Context(), `select date_trunc('week', now() - $1::text::interval, 'UTC')`, age).Scan(&week))
	return week
}

// weeks are the first times of the log's partitions.
func (b *testBundle) weeks(t *testing.T) []time.Time {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `
		select begins_at from webhook_delivery_log_partitions where begins_at is not null order by begins_at`)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	require.NoError(t, err)
	return list
}

// retain lets a worker remove old attempts once.
func (b *testBundle) retain(t *testing.T, keep time.Duration) {
	t.Helper()
	b.exec(t, `delete from river_job where kind = 'webhook_retention'`)
	stop := b.run(t, func(cfg *jobs.RunnerConfig) { forEver(cfg); cfg.Retention.Attempts = keep })
	require.Eventually(t, func() bool { return b.retentionHasRun(t) }, waitFor, look)
	require.NoError(t, stop())
}

func TestRetentionDropsPartitions(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	ages := []string{"1 second", "30 days", "60 days", "97 days 1 hour", "120 days", "400 days"}
	tests := map[string]struct {
		keep  time.Duration
		weeks []string // whose partitions are left, besides this week and the next two
		rows  []string // what is on record still
	}{
		"90 days":  {90 * day, []string{"60 days", "30 days"}, []string{"1 second", "30 days", "60 days"}},
		"for ever": {-1, []string{"400 days", "120 days", "97 days 1 hour", "60 days", "30 days"}, ages},
		"a year":   {365 * day, []string{"120 days", "97 days 1 hour", "60 days", "30 days"}, []string{"1 second", "30 days", "60 days", "97 days 1 hour", "120 days"}},
		"an hour":  {time.Hour, nil, []string{"1 second"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			now := b.weeks(t)
			require.Len(t, now, 3)
			b.logAt(t, 3, ages...)
			require.Equal(t, 5, b.make(t))
			require.Len(t, b.weeks(t), 8)
			require.Zero(t, b.count(t, "webhook_delivery_log_default"))

			b.retain(t, test.keep)
			var want []time.Time
			for _, age := range test.weeks {
				want = append(want, b.weekOf(t, age))
			}
			require.Equal(t, append(want, now...), b.weeks(t))
			require.Equal(t, 3*len(test.rows), b.count(t, "webhook_delivery_log"))
			for _, age := range test.rows {
				require.Equal(t, 3, b.count(t, `webhook_delivery_log where started_at between now() - $1::text::interval - interval '30 minutes'
					and now() - $1::text::interval + interval '30 minutes'`, age), age)
			}
		})
	}
}

// make makes the partitions that are missing, as the worker does.
func (b *testBundle) make(t *testing.T) (made int) {
	t.Helper()
	require.NoError(t, b.pool.QueryRow(t.Context(), `select webhook_make_log_partitions()`).Scan(&made))
	return made
}

// What the log holds of times without a partition goes to one first, also when nobody else makes it.
func TestRetentionMakesPartitions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := b.weeks(t)
	b.exec(t, `drop table `+b.partitionOf(t, now[2]))
	b.logAt(t, 10, "50 days", "-30 days")
	require.Equal(t, 20, b.count(t, "webhook_delivery_log_default"))
	b.retain(t, 90*24*time.Hour)
	require.Zero(t, b.count(t, "webhook_delivery_log_default"))
	require.Equal(t, 20, b.count(t, "webhook_delivery_log"))
	require.Equal(t, []time.Time{b.weekOf(t, "50 days"), now[0], now[1], now[2], b.weekOf(t, "-30 days")}, b.weeks(t))
}

func (b *testBundle) partitionOf(t *testing.T, week time.Time) (name string) {
	t.Helper()
	require.NoError(t, b.pool.QueryRow(t.Context(), `select partition::text from webhook_delivery_log_partitions where begins_at = $1`, week).Scan(&name))
	return name
}

// Attempts that are kept for a short time go row by row, where their week stays.
func TestRetentionOfAnHourIsExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.logAt(t, 6000, "61 minutes", "50 minutes") // more than one statement removes
	b.make(t)
	before := len(b.weeks(t))
	b.retain(t, time.Hour)
	require.Zero(t, b.count(t, `webhook_delivery_log where started_at < now() - interval '1 hour'`))
	require.Equal(t, 6000, b.count(t, "webhook_delivery_log"))
	require.GreaterOrEqual(t, len(b.weeks(t)), 3)
	require.LessOrEqual(t, len(b.weeks(t)), before, "an hour after midnight of Monday the last week goes")
}

// With a long time a week stays whole until all of it is too old.
func TestRetentionOfMonthsKeepsTheWeek(t *testing.T) {
	t.Parallel()
	b := setup(t)
	week := b.weekOf(t, "2160 hours")
	b.exec(t, `
		insert into webhook_delivery_log (attempt_id, job_id, attempt, trigger, outcome, client_id, started_at)
		select gen_random_uuid(), 1, 1, 'schedule', 'delivered', 'c', at
		  from generate_series($1::timestamptz - interval '168 hours', $1::timestamptz + interval '335 hours', interval '1 hour') as at`, week)
	require.Equal(t, 3, b.make(t))
	b.retain(t, 90*24*time.Hour)
	require.Equal(t, week, b.weeks(t)[0])
	require.Equal(t, 2*7*24, b.count(t, "webhook_delivery_log"), "also what is older than 90 days")
	require.Zero(t, b.count(t, "webhook_delivery_log where started_at < $1", week))

	b.retain(t, time.Hour)
	require.Zero(t, b.count(t, "webhook_delivery_log"))
	require.Len(t, b.weeks(t), 3)
}

// Somebody reads the log for long: the partition stays, writers wait for a second at most, and the next run
// drops it.
func TestRetentionGivesWayToReaders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.logAt(t, 1, "60 days")
	require.Equal(t, 1, b.make(t))
	reader, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = reader.Exec(t.Context(), `lock table webhook_delivery_log in access share mode`)
	require.NoError(t, err)

	stop := b.run(t, func(cfg *jobs.RunnerConfig) {
		forEver(cfg)
		cfg.Retention.Attempts = 30 * 24 * time.Hour
		cfg.ShutdownTimeout = 10 * time.Millisecond // it waits for its next try
	})
	waiting := func() bool {
		return b.count(t, `pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%webhook_drop_log_partitions%'`) == 1
	}
	require.Eventually(t, waiting, waitFor, look)
	began := time.Now()
	b.logAt(t, 1, "0")
	require.Less(t, time.Since(began), 5*time.Second, "less than until its last try, on a slow machine too")
	require.False(t, waiting(), "it has given up")
	require.Len(t, b.weeks(t), 4)
	require.NoError(t, stop())
	require.NoError(t, reader.Rollback(t.Context()))

	b.retain(t, 30*24*time.Hour)
	require.Len(t, b.weeks(t), 3)
	require.Equal(t, 1, b.count(t, "webhook_delivery_log"))
}
