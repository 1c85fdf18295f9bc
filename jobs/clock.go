package jobs

import (
	"sync/atomic"
	"time"
)

// databaseClock is the time of the database's host, which all workers share and which decides what is due. It
// goes on by this host's monotonic clock, so that nothing that happens to the time of day here makes a retry
// early or late. It is the time generator of River too.
type databaseClock struct{ last atomic.Pointer[clockReading] }

// clockReading is what the database's clock said at some moment.
type clockReading struct {
	at   time.Time     // by this host's clock, with its monotonic reading
	lead time.Duration // what the database's clock is ahead
}

// maxReadingTime is how long a reading may take that is worth more than the one before it.
const maxReadingTime = time.Second

// set takes a reading of the database's clock that was asked for and answered at the times given.
func (c *databaseClock) set(reading, asked, answered time.Time) {
	took := answered.Sub(asked)
	if took > maxReadingTime && c.last.Load() != nil {
		return
	}
	c.last.Store(&clockReading{at: answered, lead: reading.Add(took / 2).Sub(answered.Round(0))})
}

// Now is the time by the database's clock, and by this host's until that has been read.
func (c *databaseClock) Now() time.Time {
	last := c.last.Load()
	if last == nil {
		return time.Now()
	}
	return last.at.Add(last.lead + time.Since(last.at))
}

// NowOrNil is nil, so that River has the database itself say the time where it can.
func (c *databaseClock) NowOrNil() *time.Time { return nil }
