package jobs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// roomTime is when the rooms of the tests are looked at.
var roomTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// roomOf is a room that has been busy for the time given, whose requests ended as many milliseconds ago as listed.
func roomOf(limit, inFlight, waiting int, busy time.Duration, ended ...int) *room {
	r := &room{limit: limit, waiting: waiting}
	for _, ago := range ended {
		at := roomTime.Add(-time.Duration(ago) * time.Millisecond)
		r.enter(at)
		r.leave(at, 0)
	}
	for range inFlight {
		r.enter(roomTime.Add(-busy))
	}
	r.posting = inFlight
	return r
}

// evenly are the ends of one request each so many milliseconds, the last one just now.
func evenly(count, every int) []int {
	ended := make([]int, count)
	for i := range ended {
		ended[i] = (count - 1 - i) * every
	}
	return ended
}

func TestRoomPace(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		room     *room
		from, to float64
	}{
		"new":                   {roomOf(5, 0, 0, 0), 0, 0},
		"nothing ended":         {roomOf(5, 5, 0, time.Minute), 0, 0},
		"one just now":          {roomOf(5, 0, 0, 0, 0), 2, 2},
		"one a window ago":      {roomOf(5, 0, 0, 0, 500), 0.73, 0.74}, // 2/e
		"one long ago":          {roomOf(5, 0, 0, 0, 10_000), 0, 0.001},
		"ten a second":          {roomOf(5, 0, 0, 0, evenly(100, 100)...), 9, 12},
		"a hundred a second":    {roomOf(5, 0, 0, 0, evenly(500, 10)...), 95, 105},
		"they count as a burst": {roomOf(5, 0, 0, 0, 0, 0, 0, 0), 8, 8},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pace := test.room.pace(roomTime)
			require.GreaterOrEqual(t, pace, test.from)
			require.LessOrEqual(t, pace, test.to)
			require.LessOrEqual(t, test.room.pace(roomTime.Add(time.Second)), pace, "it fades")
		})
	}
}

func TestRoomWorthWaitingAndStalls(t *testing.T) {
	t.Parallel()
	fast := evenly(200, 10) // 100 a second
	turns := int(100 * patience.Seconds())
	tests := map[string]struct {
		room          *room
		worth, stalls bool
	}{
		"has just become busy":                              {roomOf(2, 2, 500, coldPatience-1), true, false},
		"has been busy as long as it may be without a word": {roomOf(2, 2, 0, coldPatience), false, true},
		"hangs":                       {roomOf(2, 2, 0, time.Minute), false, true},
		"hangs, and there is a place": {roomOf(2, 1, 0, time.Minute), false, false},
		"is fast":                     {roomOf(2, 2, 0, time.Minute, fast...), true, false},
		"is fast, and as many wait as get a turn": {roomOf(2, 2, turns*6/5, time.Minute, fast...), false, false},
		"is fast, and some wait":                  {roomOf(2, 2, turns*4/5, time.Minute, fast...), true, false},
		"is too slow for what is in it":           {roomOf(turns*6/5, turns*6/5, 0, time.Minute, fast...), true, true},
		"was fast, and one may see":               {roomOf(2, 2, 0, time.Minute, 5000, 5000, 5000), true, true},
		"was fast, and one sees":                  {roomOf(2, 2, 1, time.Minute, 5000, 5000, 5000), false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.worth, test.room.worthWaiting(roomTime), "worth waiting")
			require.Equal(t, test.stalls, test.room.stalls(roomTime), "stalls")
		})
	}
}

// Where it is the database that those in the room wait for, waiting is no sign of a slow partner.
func TestRoomOfASlowDatabase(t *testing.T) {
	t.Parallel()
	r := roomOf(4, 4, 100, time.Minute)
	require.False(t, r.worthWaiting(roomTime))
	require.True(t, r.stalls(roomTime))
	r.posting = 2
	require.True(t, r.waitsForOthers(), "half of them")
	require.True(t, r.stalls(roomTime))
	r.posting = 1
	require.False(t, r.waitsForOthers())
	require.True(t, r.worthWaiting(roomTime))
	require.False(t, r.stalls(roomTime))
}

func TestRoomSpare(t *testing.T) {
	t.Parallel()
	fast := evenly(200, 10)
	tests := map[string]struct {
		room  *room
		spare int
	}{
		"empty":                     {roomOf(5, 0, 0, 0), 5},
		"partly full":               {roomOf(5, 2, 0, time.Minute), 3},
		"full":                      {roomOf(5, 5, 0, time.Minute), 0},
		"full, and some wait":       {roomOf(5, 5, 3, time.Minute), -3},
		"full, and fast":            {roomOf(5, 5, 0, time.Minute, fast...), 30},
		"full and fast, some wait":  {roomOf(5, 5, 10, time.Minute, fast...), 20},
		"over-full: it was lowered": {roomOf(1, 5, 0, time.Minute), -4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.InDelta(t, test.spare, test.room.spare(roomTime, 300*time.Millisecond), 1)
		})
	}

	// What was let go takes room until it comes, or went elsewhere.
	r := roomOf(5, 0, 0, 0)
	r.let(roomTime, 3)
	require.Equal(t, 2, r.spare(roomTime, 0))
	r.came()
	require.Equal(t, 3, r.spare(roomTime, 0))
	r.let(roomTime.Add(500*time.Millisecond), 3)
	require.Zero(t, r.spare(roomTime.Add(time.Second), 0))
	require.Equal(t, 5, r.spare(roomTime.Add(1501*time.Millisecond), 0))
	r.came()
	require.Equal(t, 5, r.spare(roomTime.Add(1501*time.Millisecond), 0), "more come than were let go")
}

func TestRoomIdle(t *testing.T) {
	t.Parallel()
	require.True(t, roomOf(5, 0, 0, 0).idle(roomTime))
	require.False(t, roomOf(5, 1, 0, time.Hour).idle(roomTime))
	require.False(t, roomOf(5, 0, 1, 0).idle(roomTime))
	require.False(t, roomOf(5, 0, 0, 0, 5000).idle(roomTime), "its pace may be asked for")
	require.True(t, roomOf(5, 0, 0, 0, 5001).idle(roomTime))
}

func TestRoomSwift(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		took  time.Duration
		count int
		want  bool
	}{
		"quick, for those that there may be": {patience - 1, 80, true}, // twenty ended just now: forty a second, in two
		"quick, for one more":                {patience - 1, 81, false},
		"slow, all at once":                  {patience, 1, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &room{limit: 20}
			for range 20 {
				r.enter(roomTime.Add(-test.took))
			}
			for range 20 {
				r.leave(roomTime, test.took)
			}
			require.InDelta(t, 40, r.pace(roomTime), 0.1)
			require.Equal(t, test.want, r.swift(roomTime, test.count))
		})
	}
}
