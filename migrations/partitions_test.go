package migrations_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

const (
	waitFor = 30 * time.Second
	look    = 5 * time.Millisecond
)

// partition is a row of webhook_delivery_log_partitions with what is in it.
type partition struct {
	Name     string
	BeginsAt *time.Time
	EndsAt   *time.Time
}

func partitions(t *testing.T, pool *pgxpool.Pool) []partition {
	t.Helper()

	var list []partition
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `set local datestyle = 'ISO'`)
		require.NoError(t, err)
		rows, err := tx.Query(t.Context(), `
			select partition::text, begins_at, ends_at from webhook_delivery_log_partitions order by ends_at nulls last`)
		require.NoError(t, err)
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[partition])
		return err
	}))
	return list
}

// scalar reads one value.
func scalar[T any](t *testing.T, pool *pgxpool.Pool, query string, args ...any) T {
	t.Helper()

	var value T
	require.NoError(t, pool.QueryRow(t.Context(), query, args...).Scan(&value), query)
	return value
}

func makePartitions(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()

	return scalar[int](t, pool, `select webhook_make_log_partitions()`)
}

// openAttempts opens attempts as a worker does, and closeAttempts closes them.
const (
	openAttempts = `
		insert into webhook_delivery_log (attempt_id, job_id, attempt, trigger, outcome, client_id, started_at)
		select attempt_id, 1, 1, 'schedule', 'sending', 'test', started_at
		  from unnest($1::timestamptz[], $2::uuid[]) as a (started_at, attempt_id)`
	closeAttempts = `
		update webhook_delivery_log l
		   set outcome = 'delivered', response_status = 200, duration_ms = 1
		  from unnest($1::timestamptz[], $2::uuid[]) as c (started_at, attempt_id)
		 where l.started_at = c.started_at and l.attempt_id = c.attempt_id`
)

// logAttempts writes a row for each time, and returns where each of them went.
func logAttempts(t *testing.T, pool *pgxpool.Pool, times ...time.Time) []string {
	t.Helper()

	ids := make([]string, len(times))
	for i := range ids {
		ids[i] = uuid.NewString()
	}
	_, err := pool.Exec(t.Context(), openAttempts, times, ids)
	require.NoError(t, err)
	return homes(t, pool, ids...)
}

// homes are the partitions that rows are in.
func homes(t *testing.T, pool *pgxpool.Pool, ids ...string) []string {
	t.Helper()

	rows, err := pool.Query(t.Context(), `
		select l.tableoid::regclass::text
		  from unnest($1::uuid[]) with ordinality as a (attempt_id, place)
		  join webhook_delivery_log l using (attempt_id)
		 order by a.place`, ids)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Len(t, list, len(ids))
	return list
}

// monday is the start of a time's week, in UTC.
func monday(at time.Time) time.Time {
	day := at.UTC().Truncate(24 * time.Hour)
	return day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
}

func weekName(at time.Time) string { return "webhook_delivery_log_" + monday(at).Format("20060102") }

func TestNewDatabaseHasThisWeekAndTheNextTwo(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	week := monday(time.Now())
	list := partitions(t, pool)
	require.Len(t, list, 4)
	for i, part := range list[:3] {
		begins, ends := week.AddDate(0, 0, 7*i), week.AddDate(0, 0, 7*(i+1))
		require.Equal(t, weekName(begins), part.Name)
		require.True(t, part.BeginsAt.Equal(begins))
		require.True(t, part.EndsAt.Equal(ends))
	}
	require.Equal(t, partition{Name: "webhook_delivery_log_default"}, list[3])
	require.Zero(t, makePartitions(t, pool))
	require.Equal(t, []string{weekName(week), weekName(week), weekName(week.AddDate(0, 0, 14)), "webhook_delivery_log_default"},
		logAttempts(t, pool, week, week.AddDate(0, 0, 7).Add(-time.Microsecond), week.AddDate(0, 0, 14), week.AddDate(0, 0, 21)))
}

func TestRowsOfTheDefaultPartitionMove(t *testing.T) {
	t.Parallel()

	for name, settings := range map[string]string{
		"server of UTC":                "",
		"server of a place with DST":   `alter database %s set timezone = 'America/New_York'`,
		"server of another hemisphere": `alter database %s set timezone = 'Australia/Lord_Howe'`,
		"server that writes dates as people of India do": `alter database %[1]s set timezone = 'Asia/Kolkata';
			alter database %[1]s set datestyle = 'SQL, DMY'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.New(t)
			if settings != "" {
				_, err := pool.Exec(t.Context(), fmt.Sprintf(settings, pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize()))
				require.NoError(t, err)
				pool.Reset()
			}

			// Every six hours of a year that has changes of the clock in it, and some far away.
			start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
			times := []time.Time{
				time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
				time.Date(2199, 12, 31, 23, 59, 59, 999999000, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
			}
			weeks := map[time.Time]bool{}
			for at := start; at.Year() < 2031; at = at.Add(6 * time.Hour) {
				times = append(times, at)
			}
			for _, at := range times {
				weeks[monday(at)] = true
			}
			for _, home := range logAttempts(t, pool, times...) {
				require.Equal(t, "webhook_delivery_log_default", home)
			}

			require.Equal(t, len(weeks), makePartitions(t, pool))
			require.Zero(t, scalar[int](t, pool, `select count(*) from webhook_delivery_log_default`))
			require.Zero(t, makePartitions(t, pool))
			require.Equal(t, len(times), scalar[int](t, pool, `select count(*) from webhook_delivery_log`))
			for _, part := range partitions(t, pool) {
				if part.EndsAt != nil {
					require.True(t, part.BeginsAt.Equal(monday(*part.BeginsAt)), "%s begins at %s", part.Name, part.BeginsAt)
					require.True(t, part.EndsAt.Equal(part.BeginsAt.AddDate(0, 0, 7)), "%s ends at %s", part.Name, part.EndsAt)
					require.Equal(t, weekName(*part.BeginsAt), part.Name)
				}
			}
			for i, home := range logAttempts(t, pool, times...) {
				require.Equal(t, weekName(times[i]), home)
			}
		})
	}
}

func TestTimesWithoutAWeekStayInTheDefaultPartition(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	for _, at := range []string{"infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "294276-12-31 23:59:59+00", "12026-01-01 00:00:00+00"} {
		_, err := pool.Exec(t.Context(), `
			insert into webhook_delivery_log (attempt_id, job_id, attempt, trigger, outcome, client_id, started_at)
			values (gen_random_uuid(), 1, 1, 'schedule', 'sending', 'test', $1::text::timestamptz)`, at)
		require.NoError(t, err, at)
	}
	logAttempts(t, pool, time.Now().AddDate(1, 0, 0))
	require.Equal(t, 1, makePartitions(t, pool))
	require.Zero(t, makePartitions(t, pool))
	require.Equal(t, 6, scalar[int](t, pool, `select count(*) from webhook_delivery_log`))
	require.Equal(t, 5, scalar[int](t, pool, `select count(*) from webhook_delivery_log_default`))
}

func TestPartitionsAreMadeOnce(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	for round := range 5 {
		var times []time.Time
		for week := range 6 {
			times = append(times, time.Now().AddDate(1+round, 0, 7*week))
		}
		logAttempts(t, pool, times...)
		var (
			group sync.WaitGroup
			mu    sync.Mutex
			made  int
		)
		for range 8 {
			group.Go(func() {
				var n int
				if err := pool.QueryRow(t.Context(), `select webhook_make_log_partitions()`).Scan(&n); err != nil {
					t.Errorf("making partitions: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				made += n
			})
		}
		group.Wait()
		require.Equal(t, len(times), made, "each by one of the callers")
		require.Zero(t, scalar[int](t, pool, `select count(*) from webhook_delivery_log_default`))
		require.Equal(t, len(times)*(round+1), scalar[int](t, pool, `select count(*) from webhook_delivery_log`))
	}
}

// An attempt that is closed while its row moves must not miss it.
func TestAClosingFindsARowThatMoves(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	at := time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Microsecond)
	ids, times := []string{uuid.NewString()}, []time.Time{at}
	_, err := pool.Exec(t.Context(), openAttempts, times, ids)
	require.NoError(t, err)

	mover, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = mover.Rollback(t.Context()) }()
	_, err = mover.Exec(t.Context(), `select webhook_make_log_partitions()`)
	require.NoError(t, err)
	closed := make(chan int64, 1)
	go func() {
		tag, err := pool.Exec(t.Context(), closeAttempts, times, ids)
		if err != nil {
			t.Errorf("closing: %v", err)
		}
		closed <- tag.RowsAffected()
	}()
	require.Eventually(t, func() bool {
		var waiting bool
		err := pool.QueryRow(t.Context(), `
			select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%update webhook_delivery_log%')`).Scan(&waiting)
		return err == nil && waiting
	}, waitFor, look)
	require.NoError(t, mover.Commit(t.Context()))
	require.Equal(t, int64(1), <-closed)
	require.Equal(t, []string{weekName(at)}, homes(t, pool, ids...))
}

func TestPartitionsAreDroppedWhole(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	week := monday(time.Now()).AddDate(0, 0, -70)
	logAttempts(t, pool, week, week.AddDate(0, 0, 7).Add(-time.Microsecond), week.AddDate(0, 0, 7), week.AddDate(0, 0, 14), time.Now())
	require.Equal(t, 3, makePartitions(t, pool))
	drop := func(before time.Time) int {
		return scalar[int](t, pool, `select webhook_drop_log_partitions($1)`, before)
	}
	require.Zero(t, drop(week.AddDate(0, 0, 7).Add(-time.Microsecond)), "something of the week is younger")
	require.Equal(t, 5, scalar[int](t, pool, `select count(*) from webhook_delivery_log`))
	require.Equal(t, 1, drop(week.AddDate(0, 0, 7)))
	require.Equal(t, 3, scalar[int](t, pool, `select count(*) from webhook_delivery_log`))
	logAttempts(t, pool, week) // a late one: the default partition takes it
	require.Zero(t, drop(week.AddDate(0, 0, 7)))

	var group sync.WaitGroup
	results := make(chan int, 6)
	for range cap(results) {
		group.Go(func() {
			var n int
			if err := pool.QueryRow(t.Context(), `select webhook_drop_log_partitions(now() - interval '1 day')`).Scan(&n); err != nil {
				t.Errorf("dropping partitions: %v", err)
			}
			results <- n
		})
	}
	group.Wait()
	close(results)
	dropped := 0
	for n := range results {
		dropped += n
	}
	require.Equal(t, 2, dropped, "each by one of the callers")
	require.Equal(t, 2, scalar[int](t, pool, `select count(*) from webhook_delivery_log`), "this week's and the late one")
	for _, part := range partitions(t, pool) {
		require.NotContains(t, part.Name, weekName(week))
	}
}

// Writers write through it all: into weeks that are there, that are made, and that have been dropped.
func TestPartitionsChangeWhileAttemptsAreWritten(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	oldest := monday(time.Now()).AddDate(0, 0, -7*20)
	const rounds = 20
	var writers sync.WaitGroup
	stop := make(chan struct{})
	written := make([]int, 4)
	for i := range written {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := written[i]
				at := time.Now().AddDate(0, 0, 7*(n%40)).UTC().Truncate(time.Microsecond) // what is coming stays
				ids, times := []string{uuid.NewString()}, []time.Time{at}
				if _, err := pool.Exec(t.Context(), openAttempts, times, ids); err != nil {
					t.Errorf("opening at %s: %v", at, err)
					return
				}
				tag, err := pool.Exec(t.Context(), closeAttempts, times, ids)
				if err != nil || tag.RowsAffected() != 1 {
					t.Errorf("closing at %s: %d rows, %v", at, tag.RowsAffected(), err)
					return
				}
				times[0] = oldest.AddDate(0, 0, 7*(n%10))
				ids[0] = uuid.NewString()
				if _, err := pool.Exec(t.Context(), openAttempts, times, ids); err != nil {
					t.Errorf("opening an old one: %v", err)
					return
				}
				written[i]++
			}
		})
	}
	made, dropped := 0, 0
	for range rounds {
		made += makePartitions(t, pool)
		dropped += scalar[int](t, pool, `select webhook_drop_log_partitions($1)`, oldest.AddDate(0, 0, 7*10))
	}
	close(stop)
	writers.Wait()

	require.Positive(t, made)
	require.Positive(t, dropped)
	total := 0
	for _, n := range written {
		total += n
	}
	require.Positive(t, total)
	require.Equal(t, total, scalar[int](t, pool, `select count(*) from webhook_delivery_log where started_at > $1 and outcome = 'delivered'`, monday(time.Now())))
	require.Zero(t, scalar[int](t, pool, `select count(*) from webhook_delivery_log where started_at > $1 and outcome = 'sending'`, monday(time.Now())))
}
