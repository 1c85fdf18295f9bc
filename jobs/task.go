package jobs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/epicvoice/webhook-worker/partners"
)

// task is what one try needs, or why it can't be made.
type task struct {
	partner  *partners.Partner
	secrets  []partners.Secret
	payload  []byte
	obstacle *Verdict      // set: there is nothing to send
	final    bool          // the obstacle ends the delivery
	held     time.Duration // not 0: the partner is paused, look again after this time
}

const loadEventStatement = `select payload::text from webhook_events where user_id = $1 and event_id = $2`

// load reads what the try needs. Its error means that the database did not answer.
func (w *DeliveryWorker) load(ctx context.Context, job *river.Job[DeliveryArgs]) (*task, error) {
	partner, err := w.store.GetByID(ctx, job.Args.UserID, job.Args.PartnerID)
	switch {
	case errors.Is(err, partners.ErrNotFound):
		return ended("the partner was deleted"), nil
	case err != nil:
		return nil, err
	case !partner.Enabled:
		return ended("the partner is disabled" + because(partner.DisabledReason)), nil
	case partner.PausedAt != nil:
		return &task{held: holdFor(w.now().Sub(*partner.PausedAt))}, nil
	}

	var payload []byte
	err = w.pool.QueryRow(ctx, loadEventStatement,
		job.Args.UserID, job.Args.EventID).Scan(&payload)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ended("the event was removed"), nil
	case err != nil:
		return nil, fmt.Errorf("reading the event: %w", err)
	}

	valid, err := w.store.ValidSecrets(partner, w.now())
	if err != nil {
		obstacle := &Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindInternal, Error: err.Error()}
		return &task{obstacle: obstacle}, nil //nolint:nilerr // it is the verdict
	}
	secrets := make([]partners.Secret, len(valid))
	for i := range valid {
		secrets[i] = valid[i].Secret
	}
	return &task{partner: partner, secrets: secrets, payload: payload}, nil
}

// holdFor is how long to hold a delivery back whose partner has been paused for the time given: as long
// again, so that a long pause costs few looks, and spread, so that not all look at once.
func holdFor(paused time.Duration) time.Duration {
	hold := min(max(paused, minHold), maxHold)
	return hold + rand.N(hold/4) //nolint:gosec // no secret depends on it
}

// because is empty if nobody gave a reason.
func because(reason *string) string {
	if reason == nil {
		return ""
	}
	return ": " + *reason
}

// ended is the task of a delivery that ends without a POST.
func ended(why string) *task {
	return &task{
		obstacle: &Verdict{Outcome: OutcomeCancelled, ErrorKind: partners.KindInternal, Error: why},
		final:    true,
	}
}
