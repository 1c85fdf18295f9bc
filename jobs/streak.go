package jobs

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/epicvoice/webhook-worker/partners"
)

const (
	// circuitDeliveries is how many deliveries must be among the failures that open a circuit: one delivery that
	// its partner can't take says nothing about the others.
	circuitDeliveries = 3
	// firstSlow and maxSlow bound how long a partner that answers 429, 502, 503 or 504 is left alone if it does not
	// say how long: twice as long each time in a row.
	firstSlow   = time.Second
	maxSlow     = 30 * time.Second
	maxSlowings = 10
)

// streak is what a process has seen of a partner since it last told the database.
type streak struct {
	delivered   bool        // a try was delivered; the rest is about tries after it
	failures    int         // that failed in a row
	deliveries  []uuid.UUID // up to circuitDeliveries of theirs
	first, last time.Time   // when the first and the last of them ended
	err         string      // of the last
	slowedUntil time.Time   // until when the partner is to be left alone; zero: it did not ask
}

// tells says whether a verdict tells something about its partner. What went wrong here does not.
func tells(verdict *Verdict) bool {
	switch verdict.Outcome {
	case OutcomeDelivered:
		return true
	case OutcomeFailed:
		return !verdict.PutOff && verdict.ErrorKind != partners.KindInternal
	default:
		return false
	}
}

// add adds a verdict that tells something.
func (s *streak) add(now time.Time, delivery uuid.UUID, verdict *Verdict) {
	if verdict.Outcome == OutcomeDelivered {
		*s = streak{delivered: true}
		return
	}
	if s.failures == 0 {
		s.first = now
	}
	s.failures++
	s.last, s.err = now, partners.SafeText([]byte(verdict.Error), maxErrorText)
	if len(s.deliveries) < circuitDeliveries && !slices.Contains(s.deliveries, delivery) {
		s.deliveries = append(s.deliveries, delivery)
	}
}

// merge puts back what could not be written, before what came after.
func (s *streak) merge(later *streak) {
	if later.delivered {
		*s = *later
		return
	}
	if later.failures == 0 {
		return
	}
	if s.failures == 0 {
		s.first = later.first
	}
	s.failures += later.failures
	s.last, s.err = later.last, later.err
	s.slowedUntil = latest(s.slowedUntil, later.slowedUntil)
	for _, delivery := range later.deliveries {
		if len(s.deliveries) < circuitDeliveries && !slices.Contains(s.deliveries, delivery) {
			s.deliveries = append(s.deliveries, delivery)
		}
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
