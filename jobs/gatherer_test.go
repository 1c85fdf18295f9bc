package jobs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// slowTable answers when it is told to, and knows what it was asked.
type slowTable struct {
	answers chan error // nil: with each key, twice, but for "absent"

	mu    sync.Mutex
	asked [][]string
}

func (s *slowTable) read(_ context.Context, keys []string) (map[string]string, error) {
	s.mu.Lock()
	s.asked = append(s.asked, slices.Sorted(slices.Values(keys)))
	s.mu.Unlock()
	if err := <-s.answers; err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, key := range keys {
		if key != "absent" {
			values[key] = key + key
		}
	}
	return values, nil
}

func (s *slowTable) questions() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func TestGathererGathersWhileItReads(t *testing.T) {
	t.Parallel()

	table := &slowTable{answers: make(chan error)}
	g := &gatherer[string, string]{read: table.read, most: 3}
	first := g.ask("a")
	require.Eventually(t, func() bool { return len(table.questions()) == 1 }, 10*time.Second, time.Millisecond)
	var later []*gathered[string]
	for _, key := range []string{"b", "a", "b", "absent", "c", "d"} {
		later = append(later, g.ask(key))
	}
	for range 3 {
		table.answers <- nil
	}

	value, found, err := first.wait(t.Context())
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "aa", value)
	for i, want := range []string{"bb", "aa", "bb", "", "cc", "dd"} {
		value, found, err := later[i].wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, want != "", found)
		require.Equal(t, want, value)
	}
	questions := table.questions()
	require.Equal(t, []string{"a"}, questions[0])
	require.Len(t, questions, 3, "five different keys, three at a time, the first alone")
	require.ElementsMatch(t, []string{"a", "absent", "b", "c", "d"}, append(questions[1], questions[2]...))

	again := g.ask("a") // it starts anew after a rest
	table.answers <- nil
	value, _, err = again.wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, "aa", value)
}

func TestGathererNobodyWaitsLongerThanHisContext(t *testing.T) {
	t.Parallel()

	table := &slowTable{answers: make(chan error)}
	g := &gatherer[string, string]{read: table.read, most: 3}
	answer := g.ask("a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := answer.wait(ctx)
	require.ErrorIs(t, err, context.Canceled)
	table.answers <- nil
}

// What can't be read for one key is told to those who asked for it; that the database is away, to all.
func TestGathererErrors(t *testing.T) {
	t.Parallel()

	for name, broken := range map[string]error{
		"a value that has no form": pgx.ScanArgError{Err: errors.New("odd")},
		"an error of the row":      &pgconn.PgError{Code: "22P02"},
	} {
		read := func(_ context.Context, keys []string) (map[string]string, error) {
			if slices.Contains(keys, "broken") {
				return nil, broken
			}
			return map[string]string{keys[0]: "fine"}, nil
		}
		g := &gatherer[string, string]{read: read, most: 3, reading: true}
		fine, bad := g.ask("fine"), g.ask("broken")
		g.run()
		value, found, err := fine.wait(t.Context())
		require.NoError(t, err, name)
		require.True(t, found, name)
		require.Equal(t, "fine", value, name)
		_, found, err = bad.wait(t.Context())
		require.Equal(t, broken, err, name)
		require.False(t, found, name)
	}

	asked := 0
	away := errors.New("away")
	g := &gatherer[string, string]{read: func(context.Context, []string) (map[string]string, error) { asked++; return nil, away }, most: 3, reading: true}
	a, b := g.ask("a"), g.ask("b")
	g.run()
	_, _, err := a.wait(t.Context())
	require.ErrorIs(t, err, away)
	_, _, err = b.wait(t.Context())
	require.ErrorIs(t, err, away)
	require.Equal(t, 1, asked, "a database that is away is not asked for each")
}

func TestRecentRemembersForAMoment(t *testing.T) {
	t.Parallel()

	version := 0
	reads := map[string]int{}
	r := &recent[string, int]{
		gatherer: gatherer[string, int]{most: 3, read: func(_ context.Context, keys []string) (map[string]int, error) {
			reads[keys[0]]++
			return map[string]int{keys[0]: version}, nil
		}},
		lasting: 300 * time.Millisecond, room: 2, now: time.Now,
		weigh: func(value int) int {
			if value < 0 {
				return 0
			}
			return 1
		},
	}
	longAgo := time.Now().Add(-time.Hour)
	get := func(key string) int {
		asked := r.ask(key, longAgo)
		value, found, err := asked.wait(t.Context())
		require.NoError(t, err)
		require.True(t, found)
		return value
	}

	require.Equal(t, 0, get("a"))
	version = 1
	start := time.Now()
	if value := get("a"); time.Since(start) < 100*time.Millisecond {
		require.Equal(t, 0, value)
	}
	require.Eventually(t, func() bool { return get("a") == 1 }, 10*time.Second, 10*time.Millisecond, "a change counts in the end")
	require.Equal(t, 2, reads["a"])

	version = 2
	r.forget()
	require.Equal(t, 2, get("a"))

	version = -1
	r.forget()
	require.Equal(t, -1, get("b"))
	version = 3
	require.Equal(t, 3, get("b"), "what may change any time is not remembered")

	r.forget()
	for _, key := range []string{"a", "b", "c"} {
		get(key)
	}
	require.Len(t, r.known, 2, "there is room for two")
}

// A value that was asked for before all was forgotten is not remembered: it may be older than what made it so.
func TestRecentDoesNotRememberWhatWasAskedBefore(t *testing.T) {
	t.Parallel()

	table := &slowTable{answers: make(chan error)}
	r := &recent[string, string]{
		gatherer: gatherer[string, string]{read: table.read, most: 3}, lasting: time.Hour, room: 10, now: time.Now,
		weigh: func(string) int { return 1 },
	}
	asked := r.ask("a", time.Now())
	r.forget()
	table.answers <- nil
	value, _, err := asked.wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, "aa", value)
	require.Empty(t, r.known)
}

// Whoever asks for what came after some time does not get what was read before it.
func TestRecentAnswersWithWhatIsLaterThanATime(t *testing.T) {
	t.Parallel()

	now := time.Now()
	version := 0
	r := &recent[string, int]{
		gatherer: gatherer[string, int]{most: 3, read: func(context.Context, []string) (map[string]int, error) {
			version++
			return map[string]int{"a": version}, nil
		}},
		lasting: time.Hour, room: 2, weigh: func(int) int { return 1 },
		now: func() time.Time { return now },
	}
	get := func(laterThan time.Time) int {
		asked := r.ask("a", laterThan)
		value, _, err := asked.wait(t.Context())
		require.NoError(t, err)
		return value
	}
	require.Equal(t, 1, get(now.Add(-time.Minute)))
	require.Equal(t, 1, get(now.Add(-time.Minute)))
	require.Equal(t, 1, get(now.Add(-2*clockError)))
	require.Equal(t, 2, get(now), "the two clocks may not agree to the millisecond")
	require.Equal(t, 2, get(now.Add(-time.Minute)), "the newer one is remembered")
	now = now.Add(time.Second)
	require.Equal(t, 3, get(now.Add(-time.Second)))
	require.Equal(t, 3, get(now.Add(-time.Second)))
	require.Equal(t, 1, r.used)
}
