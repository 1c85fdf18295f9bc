package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"

	"github.com/epicvoice/webhook-worker/partners"
)

// task is what one try needs, or why it can't be made.
type task struct {
	endpoint *endpoint
	payload  []byte
	obstacle *Verdict      // set: there is nothing to send
	final    bool          // the obstacle ends the delivery
	held     time.Duration // not 0: nothing is to be sent now, look again after this time
	heldFor  putOffReason  // why
	pass     *pass         // the right to send
}

// load reads what the try needs. Its error means that the database did not answer.
func (w *DeliveryWorker) load(ctx context.Context, job *river.Job[DeliveryArgs]) (*task, error) {
	askedEvent := w.loader.events.ask(eventRef{job.Args.UserID, job.Args.EventID}, job.ScheduledAt)
	askedPartner := w.loader.partners.ask(partners.Ref{UserID: job.Args.UserID, ID: job.Args.PartnerID}, job.ScheduledAt)
	partner, found, err := askedPartner.wait(ctx)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return ended("the partner was deleted"), nil
	case !partner.Enabled:
		return ended("the partner is disabled" + because(partner.DisabledReason)), nil
	case partner.PausedAt != nil:
		return &task{held: holdFor(w.now().Sub(*partner.PausedAt), minHold), heldFor: putOffPaused}, nil
	}

	payload, found, err := askedEvent.wait(ctx)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return ended("the event was removed"), nil
	}

	switch {
	case partner.unopened == nil:
		return &task{endpoint: partner, payload: payload}, nil
	case errors.Is(partner.unopened, partners.ErrWrongKey):
		return w.sealed(ctx, job, partner.unopened, putOffMissingKey), nil
	case errors.Is(partner.unopened, partners.ErrNewer):
		return w.sealed(ctx, job, partner.unopened, putOffNewer), nil
	default:
		return sealedOff(partner.unopened), nil
	}
}

// holdFor is how long to hold a delivery back that has been held back for the time given: as long again, so
// that a long wait costs few looks, and spread, so that not all look at once.
func holdFor(waited, least time.Duration) time.Duration {
	hold := min(max(waited, least), maxHold)
	return hold + rand.N(hold/4) //nolint:gosec // no secret depends on it
}

// admit waits for the right to send. Where there is none now the task is held: for a moment, in which the holder
// moves what is due for this partner out of the way.
func (w *DeliveryWorker) admit(ctx context.Context, job *river.Job[DeliveryArgs], task *task) error {
	partner := task.endpoint.Partner
	metadata := metadataOf(job)
	pass, err := w.gate.enter(ctx, partner, metadata.HeldTooLong || metadata.Trigger == TriggerTest)
	if err == nil && partner.RateLimit != nil {
		if err = w.awaitRate(ctx, partner, pass); err != nil {
			pass.refuse()
		}
	}
	switch {
	case err == nil:
		task.pass = pass
	case isRefusal(err):
		w.logger.DebugContext(ctx, "delivery held back",
			slog.String("delivery_id", job.Args.DeliveryID.String()), slog.String("reason", err.Error()))
		task.heldFor = putOffFor(err)
		task.held = minRefused + rand.N(minRefused) //nolint:gosec // no secret depends on it
	default:
		return err
	}
	return nil
}

// awaitRate waits for the time that a request to a partner with a rate limit may go.
func (w *DeliveryWorker) awaitRate(ctx context.Context, partner *partners.Partner, pass *pass) error {
	wait, granted, err := w.rates.reserve(ctx, partner.ID, *partner.RateLimit)
	switch {
	case err != nil:
		return err
	case !granted:
		return errRateLimit
	}
	pass.start()
	select {
	case <-ctx.Done():
		return fmt.Errorf("waiting for the partner's rate limit: %w", ctx.Err())
	case <-time.After(wait):
		return nil
	}
}

// because is empty if nobody gave a reason.
func because(reason *string) string {
	if reason == nil {
		return ""
	}
	return ": " + *reason
}

// sealed is the task of a delivery to a partner whose secrets this worker can't open. Another worker may be able to already,
// or this one is some day: the partner is not to pay with a try.
func (w *DeliveryWorker) sealed(ctx context.Context, job *river.Job[DeliveryArgs], why error, reason putOffReason) *task {
	held := holdFor(w.now().Sub(job.CreatedAt), minSnooze)
	w.logPutOff(ctx, job, held, why)
	return &task{held: held, heldFor: reason}
}

// sealedOff is the task of a try that fails because the partner's secrets can't be opened.
func sealedOff(why error) *task {
	return &task{obstacle: &Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindInternal, Error: why.Error()}}
}

// ended is the task of a delivery that ends without a POST.
func ended(why string) *task {
	return &task{
		obstacle: &Verdict{Outcome: OutcomeCancelled, ErrorKind: partners.KindInternal, Error: why},
		final:    true,
	}
}
