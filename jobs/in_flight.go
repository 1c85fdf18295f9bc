package jobs

import (
	"context"
	"errors"
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

// inFlight knows what its process has been given to work on. It is a River middleware, which sees even the
// jobs whose arguments mean nothing.
type inFlight struct {
	river.MiddlewareDefaults

	mu       sync.Mutex
	runs     map[run]time.Time // when it ended; zero: it is under way
	underWay int
	done     int // those that ended with a verdict
	stopped  int // those that were cut short because the process stops
}

func newInFlight() *inFlight { return &inFlight{runs: map[run]time.Time{}} }

// Work notes that a job is under way, and when it has ended.
func (f *inFlight) Work(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
	if job.Kind != Kind || job.AttemptedAt == nil {
		return work(ctx)
	}
	this := run{job.ID, job.AttemptedAt.UTC()}
	f.mu.Lock()
	f.runs[this] = time.Time{}
	f.underWay++
	f.mu.Unlock()
	stopped := false
	defer func() { // also if it panics
		f.mu.Lock()
		defer f.mu.Unlock()
		f.runs[this] = time.Now()
		f.underWay--
		if stopped {
			f.stopped++
		} else {
			f.done++
		}
	}()
	err := work(ctx)
	stopped = err != nil && errors.Is(err, context.Canceled)
	return err
}

// counts is what there is to say about the end of a process.
func (f *inFlight) counts() (underWay, done, stopped int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.underWay, f.done, f.stopped
}

// strays picks from the runs that the database says are this process's those that it never heard of.
func (f *inFlight) strays(running []run, now time.Time) []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var strays []int64
	seen := make(map[run]bool, len(running))
	for _, this := range running {
		this.AttemptedAt = this.AttemptedAt.UTC()
		seen[this] = true
		if _, known := f.runs[this]; !known {
			strays = append(strays, this.JobID)
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
