//go:build faults

package faults

import (
	"fmt"
	"slices"
	"strings"
)

// planned is one delivery that a committed event must lead to.
type planned struct {
	event string
	path  string // of the partner
	hash  string // of the body
}

// logged is how often an outcome is on record for a delivery.
type logged struct {
	delivered, failed, lost, open, shutdown, cancelled int
}

// rows are all rows of tries that may have reached the receiver.
func (l logged) rows() int { return l.delivered + l.failed + l.lost + l.open + l.shutdown }

// state is how a delivery stands at the end.
type state struct {
	status string
	tries  int
}

// evidence is everything that is known after a scenario.
type evidence struct {
	events     int                // committed
	planned    map[string]planned // by delivery
	rolledBack map[string]bool    // events
	arrivals   []arrival
	attempts   map[string]logged // by delivery
	states     map[string]state  // by delivery
	doctor     string            // what it found; empty: nothing
}

// rules are what a scenario allows.
type rules struct {
	duplicates int               // most deliveries that may be taken more than once; the same delivery counts again
	ends       map[string]string // by delivery: the status that it ends with, if not delivered
	failures   bool              // the receiver refuses on purpose, so that tries fail
}

// result is what the table says of a scenario.
type result struct {
	events, deliveries, duplicates, lost int
}

const statusDelivered = "delivered"

// judge compares what was committed with what arrived, and lists everything that is not as it should be.
func judge(e *evidence, r *rules) (result, []string) {
	got := result{events: e.events}
	complaints := &complaints{}
	taken, refused, came := map[string]int{}, map[string]int{}, map[string]int{}
	for i := range e.arrivals {
		a := &e.arrivals[i]
		came[a.id]++
		if a.refused {
			refused[a.id]++
		} else {
			taken[a.id]++
		}
		plan, known := e.planned[a.id]
		switch {
		case e.rolledBack[a.event]:
			complaints.add("event %s was rolled back and arrived", a.event)
		case !known:
			complaints.add("delivery %s of event %q arrived and was never committed", a.id, a.event)
		case a.path != plan.path:
			complaints.add("delivery %s arrived at %s and is for %s", a.id, a.path, plan.path)
		case a.hash != "" && (a.hash != plan.hash || a.event != plan.event):
			complaints.add("delivery %s arrived with another body", a.id)
		case a.problem != "":
			complaints.add("delivery %s arrived with a bad signature: %s", a.id, a.problem)
		}
	}

	for id, plan := range e.planned {
		end, other := r.ends[id]
		if !other {
			end = statusDelivered
			if came[id] == 0 {
				got.lost++
				complaints.add("delivery %s of event %s was lost: it never arrived", id, plan.event)
			} else if taken[id] == 0 {
				complaints.add("delivery %s was never taken by the receiver", id)
			}
		}
		if came[id] > 0 {
			got.deliveries++
		}
		got.duplicates += max(0, taken[id]-1)

		attempts, now := e.attempts[id], e.states[id]
		if now.status != end {
			complaints.add("delivery %s is %s and should be %s", id, orNothing(now.status), end)
		}
		if rows := attempts.rows(); rows < came[id] {
			complaints.add("delivery %s arrived %d times and has %d rows in the log", id, came[id], rows)
		}
		if end == statusDelivered && attempts.delivered == 0 {
			complaints.add("delivery %s has no row in the log that says delivered", id)
		}
		if attempts.failed > 0 && !r.failures {
			complaints.add("delivery %s has %d failed tries, and nobody refused it", id, attempts.failed)
		}
		if rows := attempts.rows() - attempts.delivered; rows < refused[id] {
			complaints.add("delivery %s was refused %d times and has %d rows in the log that don't say delivered", id, refused[id], rows)
		}
		if attempts.open > 0 {
			complaints.add("delivery %s has %d attempts in the log that nobody closed", id, attempts.open)
		}
		// The first two tries in a row that are lost cost nothing. How they lie is not looked at, only how many.
		if most := 1 + attempts.failed + max(0, attempts.lost+attempts.open-2); end == statusDelivered && now.tries > most {
			complaints.add("delivery %s used %d tries, and %d at most were its own: %+v", id, now.tries, most, attempts)
		}
	}
	if r.duplicates >= 0 && got.duplicates > r.duplicates {
		complaints.add("%d duplicates, and at most %d are allowed", got.duplicates, r.duplicates)
	}
	for id := range e.states {
		if _, known := e.planned[id]; !known {
			complaints.add("delivery %s is in the queue and was never committed", id)
		}
	}
	if e.doctor != "" {
		complaints.add("doctor: %s", e.doctor)
	}
	return got, complaints.list()
}

func orNothing(text string) string {
	if text == "" {
		return "nowhere"
	}
	return text
}

// complaints groups what is alike, because a thousand lines say no more than a few.
type complaints struct {
	order []string
	texts map[string][]string // by format
}

func (c *complaints) add(format string, args ...any) {
	if c.texts == nil {
		c.texts = map[string][]string{}
	}
	if c.texts[format] == nil {
		c.order = append(c.order, format)
	}
	c.texts[format] = append(c.texts[format], fmt.Sprintf(format, args...))
}

func (c *complaints) list() []string {
	const shown = 3
	var lines []string
	for _, format := range c.order {
		texts := c.texts[format]
		slices.Sort(texts)
		line := strings.Join(texts[:min(shown, len(texts))], "; ")
		if len(texts) > shown {
			line += fmt.Sprintf("; and %d more of the kind", len(texts)-shown)
		}
		lines = append(lines, line)
	}
	return lines
}
