package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Health is how a partner fails: there is none of a partner whose last try was delivered.
type Health struct {
	PartnerID        uuid.UUID   `json:"partner_id"`
	UserID           string      `json:"user_id"`
	FailingSince     time.Time   `json:"failing_since"`
	LastFailedAt     time.Time   `json:"last_failed_at"`
	Failures         int         `json:"failures"`          // in a row
	FailedDeliveries []uuid.UUID `json:"failed_deliveries"` // up to three of theirs
	LastError        string      `json:"last_error"`
	OpenedAt         *time.Time  `json:"opened_at"`    // since when its circuit is open; nil: closed
	ProbeAt          *time.Time  `json:"probe_at"`     // when the next probe may go
	Probes           int         `json:"probes"`       // since the circuit opened
	SlowedUntil      *time.Time  `json:"slowed_until"` // until when it asked to be left alone
}

const healthColumns = `partner_id, user_id, failing_since, last_failed_at, failures, failed_deliveries, last_error,
       opened_at, probe_at, probes, slowed_until`

// Circuit says whether deliveries go to a partner.
type Circuit string

// The circuits.
const (
	CircuitClosed Circuit = "closed" // they do
	CircuitOpen   Circuit = "open"   // they are held back, but for probes
)

// Circuit is the partner's; that of nil, a partner that does not fail, is closed.
func (h *Health) Circuit() Circuit {
	if h != nil && h.OpenedAt != nil {
		return CircuitOpen
	}
	return CircuitClosed
}

// HealthOf reads how a partner fails, nil if it does not, and how many of its deliveries are held back.
func HealthOf(ctx context.Context, pool *pgxpool.Pool, partner uuid.UUID) (*Health, int, error) {
	found, err := collect(ctx, pool, pgx.RowToAddrOfStructByPos[Health], `select `+healthColumns+` from webhook_partner_health where partner_id = $1`, partner)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the health of partner %s: %w", partner, err)
	}
	var held int
	if err := pool.QueryRow(ctx, `
		select count(*) from river_job
		 where state in ('available', 'retryable', 'scheduled') and queue = 'webhooks-held-' || $1::uuid`, partner).Scan(&held); err != nil {
		return nil, 0, fmt.Errorf("counting what is held back of partner %s: %w", partner, err)
	}
	if len(found) == 0 {
		return nil, held, nil
	}
	return found[0], held, nil
}

const (
	// healthInterval is how often workers tell each other of partners that fail.
	healthInterval = time.Second
	// healthLeast is how often at most, when there is news.
	healthLeast = 50 * time.Millisecond
	// firstProbe and maxProbe bound the wait between two probes of an open circuit: twice as long each time.
	firstProbe = 5 * time.Second
	maxProbe   = 30 * time.Second
	// probeMargin is how long a probe may take beyond its timeout before another may go.
	probeMargin = 10 * time.Second
)

// healthKeeper shares what workers see of partners, and opens and closes their circuits.
type healthKeeper struct {
	pool            *pgxpool.Pool
	logger          *slog.Logger
	gate            *gate
	circuitFailures int
	disableAfter    time.Duration // how long a partner may fail before it is disabled; negative: for ever
	timeout         time.Duration // of one try
	metrics         *metrics
	news            chan struct{}
}

// run keeps until ctx ends.
func (k *healthKeeper) run(ctx context.Context) {
	failure := complaint{logger: k.logger, text: "partners' health not shared"}
	for {
		failure.about(ctx, k.keep(ctx))
		select {
		case <-ctx.Done():
			return
		case <-time.After(healthInterval):
			continue
		case <-k.news:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(healthLeast):
		}
	}
}

// tell makes the keeper write soon.
func (k *healthKeeper) tell() {
	select {
	case k.news <- struct{}{}:
	default:
	}
}

// keep writes what this process has seen, and reads what all have.
func (k *healthKeeper) keep(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	recovered, failed := k.gate.report()
	all, err := k.share(bounded, recovered, failed)
	if err != nil {
		k.gate.unreport()
		return err
	}
	k.gate.learn(all)
	return k.disable(bounded, failed)
}

// share writes what this process has seen, says what that changed, and reads what all processes have.
func (k *healthKeeper) share(ctx context.Context, recovered []uuid.UUID, failed []failure) (all []Health, err error) {
	read := func(db querier) (err error) {
		all, err = collect(ctx, db, pgx.RowToStructByPos[Health], `select `+healthColumns+` from webhook_partner_health`)
		return err
	}
	if len(recovered) == 0 && len(failed) == 0 {
		err = read(k.pool)
	} else {
		var said []func()
		err = pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
			// In one order, so that workers that write of the same partners wait for each other and do not come to a deadlock.
			if _, err := tx.Exec(ctx, `
				select from webhook_partner_health where partner_id = any ($1) order by partner_id for update`, slices.Concat(recovered, partnersOf(failed))); err != nil {
				return err
			}
			closed, err := k.writeRecoveries(ctx, tx, recovered)
			if err != nil {
				return err
			}
			opened, err := k.writeFailures(ctx, tx, failed)
			if err != nil {
				return err
			}
			said = slices.Concat(closed, opened)
			return read(tx)
		})
		if err == nil {
			for _, say := range said {
				say()
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sharing partners' health: %w", err)
	}
	return all, nil
}

// failure is a streak on its way to the database.
type failure struct {
	PartnerID   uuid.UUID   `json:"partner_id"`
	First       time.Time   `json:"first_at"`
	Last        time.Time   `json:"last_at"`
	Failures    int         `json:"failures"`
	Deliveries  []uuid.UUID `json:"deliveries"`
	Error       string      `json:"error"`
	SlowedUntil *time.Time  `json:"slowed_until"`
}

func partnersOf(failed []failure) []uuid.UUID {
	ids := make([]uuid.UUID, len(failed))
	for i := range failed {
		ids[i] = failed[i].PartnerID
	}
	return ids
}

// recoveryStatement forgets that partners failed, and tells of those whose circuit was open.
const recoveryStatement = `
	with gone as (
	    delete from webhook_partner_health
	     where partner_id in (select partner_id from webhook_partner_health where partner_id = any($1) order by partner_id for update)
	    returning partner_id, user_id, opened_at, failing_since, failed_deliveries
	)
	select partner_id, user_id, webhook_partner_recovered(partner_id, opened_at, failing_since, failed_deliveries)
	  from gone
	 where opened_at is not null`

// failureStatement adds streaks. It looks each partner up by its key: as a plain join PostgreSQL might read the whole table.
// $2 and $3 are the first and the longest wait for a probe, in seconds.
const failureStatement = `
	insert into webhook_partner_health as h
	       (partner_id, user_id, failing_since, last_failed_at, failures, failed_deliveries, last_error, slowed_until)
	select s.partner_id, p.user_id, s.first_at, s.last_at, s.failures, s.deliveries, s.error, s.slowed_until
	  from jsonb_to_recordset($1) as s (partner_id uuid, first_at timestamptz, last_at timestamptz, failures integer,
	                                    deliveries uuid[], error text, slowed_until timestamptz)
	 cross join lateral (select user_id from partner_webhooks where id = s.partner_id and enabled offset 0) p
	 order by s.partner_id
	on conflict (partner_id) do update
	   set failing_since     = least(h.failing_since, excluded.failing_since),
	       last_failed_at    = greatest(h.last_failed_at, excluded.last_failed_at),
	       failures          = least(h.failures::bigint + excluded.failures, 2147483647),
	       failed_deliveries = case when cardinality(h.failed_deliveries) >= 3 then h.failed_deliveries else
	                           (select array_agg(delivery)
	                              from (select distinct unnest(h.failed_deliveries || excluded.failed_deliveries) as delivery
	                                     limit 3) as known) end,
	       last_error        = excluded.last_error,
	       slowed_until      = greatest(h.slowed_until, excluded.slowed_until),
	       probe_at          = case when h.opened_at is not null
	                                then now() + least($2 * 2 ^ least(h.probes, 16), $3) * interval '1 second' end`

// openingStatement opens the circuits of those that have failed often enough.
const openingStatement = `
	update webhook_partner_health
	   set opened_at = now(), probe_at = now() + $4 * interval '1 second', probes = 0
	 where partner_id = any($1) and opened_at is null and failures >= $2 and cardinality(failed_deliveries) >= $3
	returning partner_id, user_id, failures, last_error`

// writeRecoveries closes circuits, and returns what is to be said of that.
func (k *healthKeeper) writeRecoveries(ctx context.Context, tx pgx.Tx, recovered []uuid.UUID) (said []func(), err error) {
	if len(recovered) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, recoveryStatement, recovered)
	if err != nil {
		return nil, err
	}
	var (
		partner uuid.UUID
		user    string
		told    bool
	)
	_, err = pgx.ForEachRow(rows, []any{&partner, &user, &told}, func() error {
		attrs := []any{slog.String("user_id", user), slog.String("partner_id", partner.String())}
		said = append(said, func() {
			k.logger.InfoContext(ctx, "circuit closed: the partner takes deliveries again", attrs...)
		})
		return nil
	})
	return said, err
}

// writeFailures adds streaks, and opens circuits; it returns what is to be said of that.
func (k *healthKeeper) writeFailures(ctx context.Context, tx pgx.Tx, failed []failure) (said []func(), err error) {
	if len(failed) == 0 {
		return nil, nil
	}
	ids := partnersOf(failed)
	if _, err := tx.Exec(ctx, failureStatement, failed, firstProbe.Seconds(), maxProbe.Seconds()); err != nil {
		return nil, err
	}
	if k.circuitFailures == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, openingStatement, ids, k.circuitFailures, circuitDeliveries, firstProbe.Seconds())
	if err != nil {
		return nil, err
	}
	var (
		partner  uuid.UUID
		user     string
		failures int
		last     string
		opened   []uuid.UUID
	)
	if _, err := pgx.ForEachRow(rows, []any{&partner, &user, &failures, &last}, func() error {
		opened = append(opened, partner)
		attrs := []any{
			slog.String("user_id", user), slog.String("partner_id", partner.String()), slog.Int("failures", failures), slog.String("error", last),
		}
		said = append(said, func() {
			k.logger.WarnContext(ctx, "circuit opened: the partner fails, and its deliveries are held back but for probes", attrs...)
		})
		return nil
	}); err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `select webhook_partner_failing(partner) from unnest($1::uuid[]) as partner`, opened)
	return said, err
}

// disableStatement disables those of partners that have failed for $2 seconds.
const disableStatement = `
	update partner_webhooks p
	   set enabled = false, updated_at = now(),
	       disabled_reason = left('every try has failed since ' || to_char(h.failing_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') ||
	                              '; the last one: ' || h.last_error, 200)
	  from webhook_partner_health h
	 where h.partner_id = p.id and p.id = any($1) and p.enabled
	   and h.last_failed_at - h.failing_since >= $2 * interval '1 second'
	returning p.user_id, p.partner_slug, p.disabled_reason`

// disable disables partners that have failed for too long.
func (k *healthKeeper) disable(ctx context.Context, failed []failure) error {
	if k.disableAfter < 0 || len(failed) == 0 {
		return nil
	}
	ids := partnersOf(failed)
	rows, err := k.pool.Query(ctx, disableStatement, ids, k.disableAfter.Seconds())
	if err != nil {
		return fmt.Errorf("disabling partners: %w", err)
	}
	var user, slug, reason string
	_, err = pgx.ForEachRow(rows, []any{&user, &slug, &reason}, func() error {
		k.metrics.partnerDisabled(ctx, disabledFailing)
		k.logger.WarnContext(ctx, "partner disabled",
			slog.String("user_id", user), slog.String("partner_slug", slug), slog.String("reason", reason))
		return nil
	})
	if err != nil {
		return fmt.Errorf("disabling partners: %w", err)
	}
	return nil
}

// claimProbe says whether this process may try a partner whose circuit is open. Another may when this try must have
// ended, whatever became of it.
func (k *healthKeeper) claimProbe(ctx context.Context, partner uuid.UUID) (bool, error) {
	tag, err := k.pool.Exec(ctx, `
		update webhook_partner_health
		   set probe_at = now() + $2 * interval '1 second', probes = least(probes + 1, 1000000)
		 where partner_id = $1 and opened_at is not null and probe_at <= now()`, partner, (k.timeout + probeMargin).Seconds())
	if err != nil {
		return false, fmt.Errorf("asking for a probe: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}
