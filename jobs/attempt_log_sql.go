package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const insertAttempts = `
	insert into webhook_delivery_log
	       (attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger,
	        outcome, error_kind, error, url, client_id, started_at)
	select attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger,
	       outcome, error_kind, error, url, client_id, started_at
	  from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::smallint[], $9::text[],
	              $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::timestamptz[])
	       as a (attempt_id, delivery_id, job_id, user_id, partner_id, event_id, event_type, attempt, trigger,
	             outcome, error_kind, error, url, client_id, started_at)`

const closeAttempts = `
	update webhook_delivery_log l
	   set outcome          = c.outcome,
	       response_status  = c.response_status,
	       response_headers = c.response_headers,
	       response_body    = c.response_body,
	       error_kind       = c.error_kind,
	       error            = c.error,
	       duration_ms      = c.duration_ms
	  from unnest($1::timestamptz[], $2::uuid[], $3::text[], $4::smallint[], $5::json[], $6::text[], $7::text[], $8::text[], $9::double precision[])
	       as c (started_at, attempt_id, outcome, response_status, response_headers, response_body, error_kind, error, duration_ms)
	 where l.started_at = c.started_at and l.attempt_id = c.attempt_id`

const withdrawAttempts = `
	delete from webhook_delivery_log l
	 using unnest($1::timestamptz[], $2::uuid[]) as c (started_at, attempt_id)
	 where l.started_at = c.started_at and l.attempt_id = c.attempt_id`

// writeEntries writes a batch in one round trip and one transaction.
func writeEntries(ctx context.Context, pool *pgxpool.Pool, entries []*logEntry) error {
	var inserts, closes, withdrawals []*Attempt
	for _, entry := range entries {
		switch entry.kind {
		case entryOpen, entryRecord:
			inserts = append(inserts, &entry.attempt)
		case entryClose:
			closes = append(closes, &entry.attempt)
		case entryWithdraw:
			withdrawals = append(withdrawals, &entry.attempt)
		}
	}
	batch := &pgx.Batch{}
	if len(inserts) > 0 {
		batch.Queue(insertAttempts, insertColumns(inserts)...)
	}
	found := 0
	if len(closes) > 0 {
		columns, err := closeColumns(closes)
		if err != nil {
			return err
		}
		batch.Queue(closeAttempts, columns...).Exec(func(tag pgconn.CommandTag) error {
			found = int(tag.RowsAffected())
			return nil
		})
	}
	if len(withdrawals) > 0 {
		batch.Queue(withdrawAttempts, column(withdrawals, startedAt), column(withdrawals, attemptID))
	}
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("writing %d rows of webhook_delivery_log: %w", len(entries), err)
	}
	if found < len(closes) {
		return restore(ctx, pool, closes)
	}
	return nil
}

// restore writes outcomes of which some have no intent any more: the database was failed over to a replica
// that had not received all. What was removed along with its event, such as an erased user's, stays so.
func restore(ctx context.Context, pool *pgxpool.Pool, closes []*Attempt) error {
	columns, err := closeColumns(closes)
	if err != nil {
		return err
	}
	batch := &pgx.Batch{}
	batch.Queue(insertAttempts+`
	 where exists (select from webhook_events e where e.user_id = a.user_id and e.event_id = a.event_id)
	    on conflict do nothing`, insertColumns(closes)...)
	batch.Queue(closeAttempts, columns...)
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("writing %d rows of webhook_delivery_log again: %w", len(closes), err)
	}
	return nil
}

func startedAt(a *Attempt) time.Time { return a.StartedAt }

// Ids go as text, which every way of sending a statement can encode.
func attemptID(a *Attempt) string { return a.ID.String() }

// optionalID is nil for the id of what is not known.
func optionalID(id uuid.UUID) *string {
	if id == uuid.Nil {
		return nil
	}
	return new(id.String())
}

func insertColumns(attempts []*Attempt) []any {
	return []any{
		column(attempts, attemptID),
		column(attempts, func(a *Attempt) *string { return optionalID(a.DeliveryID) }),
		column(attempts, func(a *Attempt) int64 { return a.JobID }),
		column(attempts, func(a *Attempt) *string { return optional(a.UserID) }),
		column(attempts, func(a *Attempt) *string { return optionalID(a.PartnerID) }),
		column(attempts, func(a *Attempt) *string { return optional(a.EventID) }),
		column(attempts, func(a *Attempt) *string { return optional(a.EventType) }),
		column(attempts, func(a *Attempt) int { return a.Number }),
		column(attempts, func(a *Attempt) string { return string(a.Trigger) }),
		column(attempts, func(a *Attempt) string { return string(a.Outcome) }),
		column(attempts, errorKind),
		column(attempts, func(a *Attempt) *string { return a.Error }),
		column(attempts, func(a *Attempt) *string { return a.URL }),
		column(attempts, func(a *Attempt) string { return a.ClientID }),
		column(attempts, startedAt),
	}
}

func closeColumns(attempts []*Attempt) ([]any, error) {
	headers := make([]*string, len(attempts))
	for i, a := range attempts {
		if a.ResponseHeaders == nil {
			continue
		}
		encoded, err := json.Marshal(a.ResponseHeaders)
		if err != nil {
			return nil, fmt.Errorf("encoding response headers: %w", err)
		}
		headers[i] = new(string(encoded))
	}
	return []any{
		column(attempts, startedAt),
		column(attempts, attemptID),
		column(attempts, func(a *Attempt) string { return string(a.Outcome) }),
		column(attempts, func(a *Attempt) *int { return a.ResponseStatus }),
		headers,
		column(attempts, func(a *Attempt) *string { return a.ResponseBody }),
		column(attempts, errorKind),
		column(attempts, func(a *Attempt) *string { return a.Error }),
		column(attempts, func(a *Attempt) *float64 { return a.DurationMS }),
	}, nil
}

func errorKind(a *Attempt) *string { return (*string)(a.ErrorKind) }

// column makes an array parameter of one field of many attempts.
func column[T any](attempts []*Attempt, field func(*Attempt) T) []T {
	values := make([]T, len(attempts))
	for i, attempt := range attempts {
		values[i] = field(attempt)
	}
	return values
}
