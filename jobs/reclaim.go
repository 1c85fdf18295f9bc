package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// lookInterval is how often each worker looks for deliveries whose worker is dead.
	lookInterval = time.Second
	// deadAfter is for how long a worker's lock is free before the worker counts as dead: a live one whose
	// connection broke takes it again sooner.
	deadAfter = 3 * time.Second
	// Nobody counts as dead for reconnectGrace after the looker's own connection came back, nor in the first
	// startGrace of the server: what broke that connection may have broken everybody's.
	reconnectGrace = 10 * time.Second
	startGrace     = 5 * time.Second
	// strayAfter is for how long a worker sees a delivery of its own that it knows nothing of before it gives it
	// back: the answer to its fetch was lost. It is longer than a connection may be silent and live.
	strayAfter = 15 * time.Second
	// freeLosses is how many losses in a row cost a delivery no try. What is lost more often may be what kills
	// its workers.
	freeLosses = 2
)

// reclaimer gives deliveries back whose worker is dead, and those that its own process was given and never
// heard of.
type reclaimer struct {
	pool     *pgxpool.Pool
	logger   *slog.Logger
	schedule RetrySchedule
	logged   bool // attempts are recorded
	liveness *liveness
	inFlight *inFlight
	metrics  *metrics

	free map[string]time.Time // clients whose lock is free, since when
}

// run looks until ctx ends.
func (r *reclaimer) run(ctx context.Context) {
	r.free = map[string]time.Time{}
	failure := complaint{logger: r.logger, text: "dead workers not looked for"}
	for {
		failure.about(ctx, r.look(ctx))
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookInterval):
		}
	}
}

// clientOfJob is the SQL expression of the client that tried job j last.
const clientOfJob = `j.attempted_by[array_upper(j.attempted_by, 1)]`

// holdsClientLock is the SQL condition that some session holds the lock of the client named by id.
func holdsClientLock(id string) string {
	return `exists (
	           select
	             from pg_locks l
	            where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
	              and l.database = (select d.oid from pg_database d where d.datname = current_database())
	              and (l.classid::bigint << 32) | l.objid::bigint = ` + clientLock(id) + `)`
}

// freeClients lists the clients that have jobs of our queues ($1) running or lead River, hold no lock, and are
// not of this process ($2).
const freeClients = `
	with running as (
	    select distinct ` + clientOfJob + ` as client_id
	      from river_job j
	     where j.state = 'running' and j.queue = any($1)
	     union
	    select leader_id from river_leader
	)
	select client_id from running
	 where client_id <> all($2::text[]) and client_id ~ ` + clientIDPattern + ` and not `

// ownRunning lists the deliveries of this process's clients ($2) that are running.
const ownRunning = `
	select j.id, j.attempted_at
	  from river_job j
	 where j.state = 'running' and j.queue = $1 and j.kind = '` + Kind + `'
	   and ` + clientOfJob + ` = any($2::text[])
	   and j.attempted_at is not null`

// look gives back what is to be given back now. What can't be does not hold up the rest.
func (r *reclaimer) look(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return errors.Join(r.lookForDead(bounded), r.lookForStrays(bounded))
}

func (r *reclaimer) lookForDead(ctx context.Context) error {
	free, err := collect(ctx, r.pool, pgx.RowTo[string],
		freeClients+holdsClientLock("client_id"), []string{Queue, maintenanceQueue}, r.liveness.own())
	if err != nil {
		clear(r.free) // what happened since the last look is not known
		return fmt.Errorf("looking for dead workers: %w", err)
	}
	now := time.Now()
	for id := range r.free {
		if !slices.Contains(free, id) {
			delete(r.free, id)
		}
	}
	trusted := !now.Before(r.liveness.trustedFrom()) && r.liveness.fault() == nil
	var failures error
	for _, id := range free {
		since, known := r.free[id]
		switch {
		case !known:
			r.free[id] = now
		case now.Sub(since) >= deadAfter && trusted:
			failures = errors.Join(failures, r.bury(ctx, id))
			delete(r.free, id)
		}
	}
	return failures
}

func (r *reclaimer) lookForStrays(ctx context.Context) error {
	own := r.liveness.own()
	running, err := collect(ctx, r.pool, pgx.RowToStructByPos[run], ownRunning, Queue, own)
	if err != nil {
		return fmt.Errorf("looking for own deliveries: %w", err)
	}
	strays := r.inFlight.strays(running, time.Now())
	if len(strays) == 0 {
		return nil
	}
	return r.reclaim(ctx, "deliveries given back whose fetch was never answered", own, strays)
}

// bury gives back what a dead client left running, and ends its leadership of River, so that another need
// not wait for its term to end. Maintenance is periodic: what it left of that is removed, so that the next is
// not held up.
func (r *reclaimer) bury(ctx context.Context, id string) error {
	if _, err := r.pool.Exec(ctx, `
		with dead as (
		    delete from river_leader
		     where leader_id = $1 and not `+holdsClientLock("$1")+`
		    returning leader_id
		)
		select pg_notify(s.river_schema || '.river_leadership', json_build_object('leader_id', d.leader_id, 'action', 'resigned')::text)
		  from dead d cross join webhook_settings s`, id); err != nil {
		return fmt.Errorf("ending the leadership of %s: %w", id, err)
	}
	if _, err := r.pool.Exec(ctx, `
		delete from river_job j
		 where j.state = 'running' and j.queue = $1 and j.kind = any($2) and `+clientOfJob+` = $3`,
		maintenanceQueue, []string{retentionArgs{}.Kind(), settlementArgs{}.Kind()}, id); err != nil {
		return fmt.Errorf("removing the maintenance of %s: %w", id, err)
	}
	return r.reclaim(ctx, "deliveries of a dead worker given back", []string{id}, nil)
}

// reclaimed is a delivery that was given back.
type reclaimed struct {
	DeliveryID *uuid.UUID
	State      string
	Verdict    string
	Waking     *string
}

// reclaim gives back what the clients given run: these jobs, or all where none are named. One that the
// statement stumbles over, because somebody wrote into it what should not be there, stays alone.
func (r *reclaimer) reclaim(ctx context.Context, what string, clients []string, jobs []int64) error {
	err := r.reclaimAtOnce(ctx, what, clients, jobs)
	if !isRowError(err) || len(jobs) == 1 {
		return err
	}
	if jobs == nil {
		jobs, err = collect(ctx, r.pool, pgx.RowTo[int64], `
			select j.id from river_job j
			 where j.state = 'running' and j.queue = $1 and j.kind = $2 and `+clientOfJob+` = any($3)`, Queue, Kind, clients)
		if err != nil {
			return fmt.Errorf("looking for what a worker left: %w", err)
		}
	}
	var failures error
	for _, job := range jobs {
		if err := r.reclaimAtOnce(ctx, what, clients, []int64{job}); err != nil {
			failures = errors.Join(failures, fmt.Errorf("job %d: %w", job, err))
		}
	}
	return failures
}

func (r *reclaimer) reclaimAtOnce(ctx context.Context, what string, clients []string, jobs []int64) error {
	list, err := collect(ctx, r.pool, pgx.RowToStructByPos[reclaimed], reclaimStatement, pgx.NamedArgs{
		"clients": clients, "jobs": jobs, "everything": jobs == nil, "free": freeLosses, "logged": r.logged,
		"base": r.schedule.BaseDelay.Seconds(), "max": r.schedule.MaxDelay.Seconds(),
	})
	if err != nil {
		return fmt.Errorf("giving back what a worker left: %w", err)
	}
	if len(list) == 0 {
		return nil
	}
	states := map[string]int{}
	for _, delivery := range list {
		states[delivery.State]++
		if delivery.State == "discarded" {
			r.metrics.died(ctx, 1)
		}
		if delivery.State == "discarded" && delivery.DeliveryID != nil {
			r.logger.ErrorContext(ctx, "delivery is a dead letter", slog.String("delivery_id", delivery.DeliveryID.String()),
				slog.String("outcome", delivery.Verdict), slog.String("error", "its workers died"))
		}
	}
	attrs := []any{slog.Any("client_ids", clients), slog.Int("deliveries", len(list))}
	for state, count := range states {
		attrs = append(attrs, slog.Int(state, count))
	}
	r.logger.WarnContext(ctx, what, attrs...)
	return nil
}
