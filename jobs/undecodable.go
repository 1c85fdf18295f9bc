package jobs

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/epicvoice/webhook-worker/partners"
)

// undecodable puts deliveries on record whose arguments mean nothing, so that River never hands them to the
// worker. They follow the same schedule, since a worker of another version may understand them.
type undecodable struct{ worker *DeliveryWorker }

// NextRetry is when River tries such a job again.
func (u *undecodable) NextRetry(job *rivertype.JobRow) time.Time {
	return u.worker.schedule.Next(u.worker.now(), job.Attempt, 0)
}

// HandleError is called by River when a try has failed, whatever the reason.
func (u *undecodable) HandleError(ctx context.Context, row *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if row.Kind != Kind || versionOf(row) <= argsVersion && json.Unmarshal(row.EncodedArgs, new(DeliveryArgs)) == nil {
		return nil // the worker has put it on record
	}
	job := &river.Job[DeliveryArgs]{JobRow: row, Args: readableArgs(row.EncodedArgs)}
	attempt := u.worker.newAttempt(job)
	verdict := &Verdict{
		Outcome:   OutcomeFailed,
		ErrorKind: partners.KindInternal,
		Error:     "the job's arguments can't be read: " + err.Error(),
	}
	attempt.finish(verdict, nil)
	u.worker.record(ctx, attempt, false)
	u.worker.report(ctx, job, attempt, verdict, false)
	return nil
}

// HandlePanic is called by River for a panic that the worker has not caught itself; River keeps it on the job.
func (u *undecodable) HandlePanic(context.Context, *rivertype.JobRow, any, string) *river.ErrorHandlerResult {
	return nil
}

// readableArgs takes what makes sense from arguments that do not as a whole.
func readableArgs(encoded []byte) DeliveryArgs {
	var fields map[string]any
	_ = json.Unmarshal(encoded, &fields) // nothing is known then
	text := func(name string) string {
		value, _ := fields[name].(string)
		return value
	}
	id := func(name string) uuid.UUID {
		value, err := uuid.Parse(text(name))
		if err != nil {
			return uuid.Nil
		}
		return value
	}
	return DeliveryArgs{
		DeliveryID: id("delivery_id"), UserID: text("user_id"), PartnerID: id("partner_id"),
		EventID: text("event_id"), EventType: text("event_type"),
	}
}
