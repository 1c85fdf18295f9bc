package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// forgetAfter is how long a job is remembered that has ended and is not seen running any more.
const forgetAfter = 10 * time.Second

// run is one running of a job: River gives a job's id again at every try.
type run struct {
	JobID       int64
	AttemptedAt time.Time
}

// inFlight knows what its process has been given to work on, and bounds how much of it is worked on at once: a
// session that is suspended still works on what it has. It is a River middleware, which sees even the jobs
// whose arguments mean nothing, before their time begins to run.
type inFlight struct {
	river.MiddlewareDefaults

	slots chan struct{}

	mu       sync.Mutex
	runs     map[run]time.Time // when it ended; zero: it is under way
	unheard  map[run]time.Time // since when the database says that it is this process's, which does not know it
	underWay int
	done     int // those that ended with a verdict
	stopped  int // those that were cut short because the process stops
	endedAt  time.Time
}

func newInFlight(most int) *inFlight {
	return &inFlight{slots: make(chan struct{}, most), runs: map[run]time.Time{}, unheard: map[run]time.Time{}}
}

// Work notes that a job is under way, and when it has ended.
func (f *inFlight) Work(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
	if job.Kind != Kind || job.AttemptedAt == nil {
		return work(ctx)
	}
	growStack(job.ID)
	this := run{job.ID, job.AttemptedAt.UTC()}
	f.mu.Lock()
	f.runs[this] = time.Time{}
	f.underWay++
	f.mu.Unlock()
	stopped := false
	defer func() { // also if it panics
		f.mu.Lock()
		defer f.mu.Unlock()
		f.endedAt = time.Now()
		f.runs[this] = f.endedAt
		f.underWay--
		if stopped {
			f.stopped++
		} else {
			f.done++
		}
	}()
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		stopped = true
		return fmt.Errorf("stopped before the delivery: %w", ctx.Err())
	}
	err := work(ctx)
	stopped = errors.Is(err, context.Canceled) && !errors.Is(context.Cause(ctx), rivertype.ErrJobCancelledRemotely)
	return err
}

// growStack gives the goroutine as much stack at once as a delivery takes. It begins with little, and is copied each time
// that this is used up, the later the dearer: 4 % of a worker's time.
//
//go:noinline
func growStack(at int64) byte {
	var frame [6 << 10]byte
	return frame[at%int64(len(frame))] // so that there is one
}

// counts is what there is to say about the end of a process.
func (f *inFlight) counts() (underWay, done, stopped int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.underWay, f.done, f.stopped
}

// progress is how many deliveries are under way, and when the last one ended.
func (f *inFlight) progress() (underWay int, lastEnded time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.underWay, f.endedAt
}

// ended is how many deliveries have ended with a verdict.
func (f *inFlight) ended() int {
	_, done, _ := f.counts()
	return done
}

// strays picks from the runs that the database says are this process's those that it has not heard of for
// strayAfter. The answer to a fetch may be late.
func (f *inFlight) strays(running []run, now time.Time) []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var strays []int64
	seen := make(map[run]bool, len(running))
	for _, this := range running {
		this.AttemptedAt = this.AttemptedAt.UTC()
		seen[this] = true
		if _, known := f.runs[this]; known {
			continue
		}
		since, again := f.unheard[this]
		switch {
		case !again:
			f.unheard[this] = now
		case now.Sub(since) >= strayAfter:
			strays = append(strays, this.JobID)
		}
	}
	for this := range f.unheard {
		if _, known := f.runs[this]; known || !seen[this] {
			delete(f.unheard, this)
		}
	}
	for this, ended := range f.runs {
		// One that has ended and is seen running waits for River to write its end.
		if !ended.IsZero() && !seen[this] && now.Sub(ended) > forgetAfter {
			delete(f.runs, this)
		}
	}
	return strays
}
