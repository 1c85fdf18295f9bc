package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/epicvoice/webhook-worker/partners"
)

const (
	// rememberFor is how long an event or a partner that was read serves more deliveries, of those that were due
	// before: a change of a partner counts for all that come due after it, and for those in line that much later.
	rememberFor = 500 * time.Millisecond
	// maxPartners and maxEventBytes are how much of them is remembered.
	maxPartners   = 10_000
	maxEventBytes = 16 << 20
	// maxRead is how many of them one statement reads.
	maxRead = 500
)

// loader reads the events and partners of deliveries. An event goes to many partners, and a partner gets many
// deliveries, so that both are remembered for a moment; partners with what is sealed of them, opened.
type loader struct {
	pool     *pgxpool.Pool
	store    *partners.Store
	events   recent[eventRef, []byte]
	partners recent[partners.Ref, *endpoint]
}

// eventRef names an event.
type eventRef struct{ userID, id string }

// endpoint is a partner with what is sealed of it, or why that can't be opened.
type endpoint struct {
	*partners.Partner

	secrets  []partners.Secret
	headers  partners.Headers
	unopened error
}

func newLoader(pool *pgxpool.Pool, store *partners.Store, now func() time.Time) *loader {
	l := &loader{pool: pool, store: store}
	l.events = recent[eventRef, []byte]{
		gatherer: gatherer[eventRef, []byte]{read: l.readEvents, most: maxRead},
		lasting:  rememberFor, room: maxEventBytes, now: now,
		weigh: func(payload []byte) int { return len(payload) },
	}
	l.partners = recent[partners.Ref, *endpoint]{
		gatherer: gatherer[partners.Ref, *endpoint]{read: l.readPartners, most: maxRead},
		lasting:  rememberFor, room: maxPartners, now: now,
		weigh: func(partner *endpoint) int {
			if partner.Enabled && partner.PausedAt == nil && partner.unopened == nil {
				return 1
			}
			return 0 // what holds its deliveries back may just have ended
		},
	}
	return l
}

func (l *loader) readPartners(ctx context.Context, refs []partners.Ref) (map[partners.Ref]*endpoint, error) {
	now := l.partners.now()
	found, err := l.store.GetMany(ctx, refs)
	if err != nil {
		return nil, err
	}
	read := make(map[partners.Ref]*endpoint, len(found))
	for ref, partner := range found {
		read[ref] = l.open(partner, now)
	}
	return read, nil
}

// open unseals what is sealed of a partner.
func (l *loader) open(partner *partners.Partner, now time.Time) *endpoint {
	opened, err := l.store.Unseal(partner, now)
	if err != nil {
		return &endpoint{Partner: partner, unopened: err}
	}
	secrets := make([]partners.Secret, len(opened.Secrets))
	for i, valid := range opened.Secrets {
		secrets[i] = valid.Secret
	}
	return &endpoint{Partner: partner, secrets: secrets, headers: opened.Headers}
}

// loadEventsStatement looks each event up by its key: as a plain join PostgreSQL might read the whole table.
const loadEventsStatement = `
	select wanted.user_id, wanted.event_id, e.payload::text
	  from unnest($1::text[], $2::text[]) as wanted (user_id, event_id)
	 cross join lateral (select payload
	                       from webhook_events
	                      where user_id = wanted.user_id and event_id = wanted.event_id
	                     offset 0) e`

func (l *loader) readEvents(ctx context.Context, events []eventRef) (map[eventRef][]byte, error) {
	users, ids := make([]string, len(events)), make([]string, len(events))
	for i, event := range events {
		users[i], ids[i] = event.userID, event.id
	}
	read := make(map[eventRef][]byte, len(events))
	var (
		event   eventRef
		payload []byte
	)
	rows, err := l.pool.Query(ctx, loadEventsStatement, users, ids)
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	if _, err = pgx.ForEachRow(rows, []any{&event.userID, &event.id, &payload}, func() error {
		read[event] = payload
		payload = nil
		return nil
	}); err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return read, nil
}
