package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/epicvoice/webhook-worker/jobs"
)

type enqueueCommand struct {
	Partners []int         `default:"1,10,100" help:"How many partners an event goes to."`
	Duration time.Duration `default:"1s" help:"How long each way enqueues in a round, one event a transaction, one after another."`
	Body     int           `default:"512" help:"Bytes of an event's payload."`
	Rounds   int           `default:"5" help:"Rounds; each tries all ways with all numbers of partners, one after the other."`

	reportFlags
}

// floorArgs are no more than a delivery's job has: a bare River job that holds ids.
type floorArgs struct {
	Version    int       `json:"version"`
	DeliveryID uuid.UUID `json:"delivery_id"`
	UserID     string    `json:"user_id"`
	PartnerID  uuid.UUID `json:"partner_id"`
	EventID    string    `json:"event_id"`
	EventType  string    `json:"event_type"`
}

// Kind is the job kind; nobody works it.
func (floorArgs) Kind() string { return "bench_floor" }

// enqueueCost is what one run showed.
type enqueueCost struct{ perEvent float64 } // milliseconds

func costOf(run *enqueueCost) float64 { return run.perEvent }

// transactionWay is a way to enqueue an event for a number of partners in a transaction.
type transactionWay struct {
	name    string
	pool    *pgxpool.Pool
	bare    bool // else the product
	enqueue func(ctx context.Context, tx pgx.Tx, partners int) error
}

// Run enqueues in all ways in turn, and prints what an event costs.
func (c *enqueueCommand) Run(ctx context.Context) (err error) {
	s, err := newStage(ctx, newArrivals().ServeHTTP, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, partners := range c.Partners {
		for i := range partners {
			if err := s.addPartner(ctx, benchUser(partners), fmt.Sprint("partner-", i), s.url, "*"); err != nil {
				return err
			}
		}
	}
	ways, err := c.ways(s)
	if err != nil {
		return err
	}
	runs := make([][][]enqueueCost, len(c.Partners)) // by number of partners and way
	for round := range c.Rounds {
		for i, partners := range c.Partners {
			if round == 0 {
				runs[i] = make([][]enqueueCost, len(ways))
			}
			for j, way := range ways {
				run, err := c.time(ctx, s, &way, partners)
				if err != nil {
					return fmt.Errorf("%s: %w", way.name, err)
				}
				runs[i][j] = append(runs[i][j], run)
				_, _ = fmt.Fprintf(os.Stderr, "round %d: %s: %s: %.3f ms an event\n", round+1, plural(partners, "partner"), way.name, run.perEvent)
			}
		}
	}
	return c.publish(ctx, s.pool, c.compare(ways, runs))
}

// ways are those of the product, after the floor: a transaction with as many bare River jobs.
func (c *enqueueCommand) ways(s *stage) ([]transactionWay, error) {
	client, err := river.NewClient(riverpgxv5.New(s.bare.pool), &river.Config{})
	if err != nil {
		return nil, fmt.Errorf("making a River client: %w", err)
	}
	enqueuer, err := jobs.NewEnqueuer(nil)
	if err != nil {
		return nil, err
	}
	body := payloadOf(c.Body)
	bare := func(args func() river.JobArgs) func(context.Context, pgx.Tx, int) error {
		return func(ctx context.Context, tx pgx.Tx, partners int) error {
			params := make([]river.InsertManyParams, partners)
			for i := range params {
				params[i].Args = args()
			}
			_, err := client.InsertManyTx(ctx, tx, params)
			return err
		}
	}
	return []transactionWay{
		{"River, ids", s.bare.pool, true, bare(func() river.JobArgs {
			return floorArgs{1, uuid.New(), benchUser(1), uuid.New(), uuid.NewString(), "call.completed"}
		})},
		{"River, with payload", s.bare.pool, true, bare(func() river.JobArgs {
			return bareArgs{ID: uuid.NewString(), URL: s.url, Body: body}
		})},
		{"EnqueueTx", s.pool, false, func(ctx context.Context, tx pgx.Tx, partners int) error {
			deliveries, err := enqueuer.EnqueueTx(ctx, tx, &jobs.Event{UserID: benchUser(partners), Type: "call.completed", Payload: json.RawMessage(body)})
			return errors.Join(err, exactly(partners, len(deliveries)))
		}},
		{"SQL function", s.pool, false, func(ctx context.Context, tx pgx.Tx, partners int) error {
			tag, err := tx.Exec(ctx, `select enqueue_webhook_event($1, 'call.completed', $2::json)`, benchUser(partners), body)
			return errors.Join(err, exactly(partners, int(tag.RowsAffected())))
		}},
	}, nil
}

// exactly says whether an event went to all of its partners.
func exactly(partners, deliveries int) error {
	if partners != deliveries {
		return fmt.Errorf("an event for %d partners became %d deliveries", partners, deliveries) //nolint:err113 // for a person
	}
	return nil
}

// time enqueues for a while on empty tables.
func (c *enqueueCommand) time(ctx context.Context, s *stage, way *transactionWay, partners int) (enqueueCost, error) {
	if err := errors.Join(s.clear(ctx), s.tidy(ctx)); err != nil {
		return enqueueCost{}, err
	}
	once := func() error {
		return pgx.BeginFunc(ctx, way.pool, func(tx pgx.Tx) error { return way.enqueue(ctx, tx, partners) })
	}
	const unmeasured = 5 // statements are prepared
	for range unmeasured {
		if err := once(); err != nil {
			return enqueueCost{}, err
		}
	}
	events := 0
	start := time.Now()
	for ; time.Since(start) < c.Duration; events++ {
		if err := once(); err != nil {
			return enqueueCost{}, err
		}
	}
	return enqueueCost{perEvent: milliseconds(time.Since(start)) / float64(events)}, nil
}

// compare makes a table of what an event costs, beside the first way.
func (c *enqueueCommand) compare(ways []transactionWay, runs [][][]enqueueCost) *report {
	costs := &table{columns: []string{"", "partners", "ms an event", "range", "ms a delivery", "of " + ways[0].name, "range"}}
	r := &report{
		name:   "enqueue",
		tables: []*table{costs},
		note: fmt.Sprintf(`Events of %d bytes, one a transaction, one after another over one connection, with the commit; medians of %s.
River: a transaction that inserts as many bare jobs by InsertManyTx, with no more than ids in each, or with the payload in each.`, c.Body, plural(c.Rounds, "round")),
		plot: &plot{title: "What enqueueing an event costs", subtitle: "one event a transaction, with the commit; medians and ranges of " + plural(c.Rounds, "round")},
	}
	for i, partners := range c.Partners {
		panel := panel{title: plural(partners, "partner"), unit: "ms an event"}
		for j, way := range ways {
			times, ratios := each(runs[i][j], costOf), ratiosOf(runs[i][j], runs[i][0], costOf)
			costs.add(way.name, strconv.Itoa(partners), fmt.Sprintf("%.3f", median(times)), rangeOf("%.3f", times),
				fmt.Sprintf("%.4f", median(times)/float64(partners)), fmt.Sprintf("%.2f", median(ratios)), rangeOf("%.2f", ratios))
			panel.bars = append(panel.bars, plotBar{label: way.name, values: times, note: fmt.Sprintf("%.2f of %s", median(ratios), ways[0].name), own: !way.bare})
		}
		r.plot.panels = append(r.plot.panels, panel)
	}
	return r
}
