package jobs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDatabaseClock(t *testing.T) {
	t.Parallel()
	clock := &databaseClock{}
	require.WithinDuration(t, time.Now(), clock.Now(), time.Minute, "this host's until the database's is known")

	// What this host thinks of the time of day does not matter.
	for _, lead := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute, 24 * time.Hour} {
		asked := time.Now()
		clock.set(asked.Round(0).Add(lead), asked, asked)
		require.WithinDuration(t, time.Now().Add(lead), clock.Now(), time.Minute)
	}
	before := clock.Now()
	require.GreaterOrEqual(t, clock.Now().Sub(before), time.Duration(0))

	// A slow answer says little.
	asked := time.Now()
	clock.set(asked.Add(time.Hour), asked, asked.Add(2*time.Second))
	require.WithinDuration(t, before, clock.Now(), time.Minute)
	// Of a quick one, half the time was the way back.
	clock.set(asked.Round(0), asked, asked.Add(time.Second))
	require.InDelta(t, -0.5, clock.last.Load().lead.Seconds(), 0.001)
	require.Nil(t, clock.NowOrNil())
}
