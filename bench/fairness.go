package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/epicvoice/webhook-worker/jobs"
)

type fairnessCommand struct {
	Healthy  int           `default:"50" help:"Healthy partners, all of one user."`
	Rate     int           `default:"200" help:"Events a second for the healthy partners in all, each event for one of them."`
	Pending  int           `default:"20000" help:"Deliveries that wait for a bad partner before the workers start; a hundred bad partners share them."`
	Duration time.Duration `default:"30s" help:"How long events are offered, from when the workers are ready."`
	Skip     time.Duration `default:"5s" help:"What to leave out at the start in the second table."`
	Grace    time.Duration `default:"10s" help:"How long to wait after that; what has not arrived by then is lost."`
	Hang     time.Duration `default:"30s" help:"When a hanging partner answers."`
	Workers  int           `default:"1" help:"Worker processes."`
	Rounds   int           `default:"1" help:"Rounds; each runs all scenarios, one after the other."`
	Only     []string      `help:"Leave out all scenarios but these." placeholder:"NAME"`
	Set      []string      `help:"A setting of the workers. BINARY=PATH takes another binary." placeholder:"VARIABLE=VALUE" sep:"none"`

	reportFlags
}

const (
	// healthyUser has all healthy partners.
	healthyUser = "healthy"
	// startTimeout is how long workers may take to become ready.
	startTimeout = 30 * time.Second
	// hundred is how many partners hang in the last scenario.
	hundred = 100
)

// scenario is the company that the healthy partners are in.
type scenario struct {
	name string
	bad  []badPartner
	each int // deliveries that wait for each bad partner
	runs []fairnessRun
}

// badPartner is one that does not take its deliveries. Its name is its slug too.
type badPartner struct{ user, name, path string }

// fairnessRun is what one run showed.
type fairnessRun struct {
	all, later latencies
	offered    int           // events for healthy partners
	inTime     int           // of their deliveries, those that arrived while events were offered
	lost       int           // and those that did not arrive at all
	extra      int           // requests to healthy partners beside the first of each delivery
	hanging    int64         // requests that hanging partners got while events were offered
	failing    int64         // and failing ones
	worker     time.Duration // CPU time of the worker processes while events were offered
	server     time.Duration // of PostgreSQL
	behind     time.Duration // the most that an event was enqueued later than planned
}

// Run times the deliveries of healthy partners in each scenario, and prints how they compare.
func (c *fairnessCommand) Run(ctx context.Context) (err error) {
	receiver := newFairnessReceiver(c.Hang)
	s, err := newStage(ctx, receiver.ServeHTTP, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	scenarios := c.scenarios()
	for round := range c.Rounds {
		for _, scenario := range scenarios {
			run, err := c.measure(ctx, s, receiver, scenario)
			if err != nil {
				return fmt.Errorf("%s: %w", scenario.name, err)
			}
			scenario.runs = append(scenario.runs, *run)
			_, _ = fmt.Fprintf(os.Stderr, "round %d: %s: %s\n", round+1, scenario.name, run)
		}
	}
	return c.publish(ctx, s.pool, c.compare(scenarios))
}

func (c *fairnessCommand) scenarios() []*scenario {
	apart := []badPartner{{"hanging", "hanging", hangingPath}, {"failing", "failing", failingPath}}
	among := []badPartner{{healthyUser, "hanging", hangingPath}, {healthyUser, "failing", failingPath}}
	many := make([]badPartner, hundred)
	for i := range many {
		many[i] = badPartner{"hanging", fmt.Sprint("hanging", i), hangingPath}
	}
	scenarios := []*scenario{
		{name: "alone"},
		{name: "two bad", bad: apart, each: c.Pending},
		{name: "same user", bad: among, each: c.Pending},
		{name: "hundred hanging", bad: many, each: max(c.Pending/hundred, 1)},
	}
	if len(c.Only) == 0 {
		return scenarios
	}
	return slices.DeleteFunc(scenarios, func(one *scenario) bool { return !slices.Contains(c.Only, one.name) })
}

// measure fills the queue for the bad partners, starts workers, and times what healthy partners get.
func (c *fairnessCommand) measure(ctx context.Context, s *stage, receiver *fairnessReceiver, scenario *scenario) (*fairnessRun, error) {
	if err := c.prepare(ctx, s, scenario); err != nil {
		return nil, err
	}
	clients, disconnect, err := connectClients(ctx, s)
	if err != nil {
		return nil, err
	}
	defer disconnect()
	receiver.reset()
	workers, err := c.startWorkers(ctx, s)
	if err != nil {
		return nil, err
	}

	offers := &offers{
		total: int64(float64(c.Rate) * c.Duration.Seconds()), rate: c.Rate, healthy: c.Healthy, body: json.RawMessage(payloadOf(512)),
		receiver: receiver,
	}
	run, err := c.observe(ctx, s, workers, offers, clients)
	if err != nil {
		return nil, err
	}
	for _, worker := range workers {
		if err := worker.stop(); err != nil {
			return nil, err
		}
	}
	end := offers.start.Add(c.Duration)
	receiver.sum(run, end, end.Add(c.Grace), offers.start.Add(c.Skip))
	return run, nil
}

// observe looks at what is used and received while clients make the offers, and waits for the arrivals.
func (c *fairnessCommand) observe(ctx context.Context, s *stage, workers []*process, offers *offers, clients []*pgx.Conn) (*fairnessRun, error) {
	workerBefore, serverBefore, err := workersCPU(s, workers)
	if err != nil {
		return nil, err
	}
	offers.start = time.Now()
	group, offering := errgroup.WithContext(ctx)
	for _, client := range clients {
		group.Go(func() error { return offers.make(offering, client) })
	}
	end := offers.start.Add(c.Duration)
	if err := sleepUntil(offering, end); err != nil {
		return nil, errors.Join(group.Wait(), ctx.Err())
	}
	hanging, failing := offers.receiver.hanging.Load(), offers.receiver.failing.Load()
	worker, server, err := workersCPU(s, workers)
	if err := errors.Join(group.Wait(), err); err != nil {
		return nil, err
	}
	return &fairnessRun{
		hanging: hanging, failing: failing, worker: worker - workerBefore, server: server - serverBefore, behind: offers.behind,
	}, offers.receiver.wait(ctx, end.Add(c.Grace))
}

// prepare leaves a scenario's partners, and what waits for the bad ones, in the database and nothing else.
func (c *fairnessCommand) prepare(ctx context.Context, s *stage, scenario *scenario) error {
	if err := s.clear(ctx); err != nil {
		return err
	}
	if _, err := s.pool.Exec(ctx, `delete from partner_webhooks`); err != nil {
		return fmt.Errorf("removing the partners: %w", err)
	}
	for i := range c.Healthy {
		if err := s.addPartner(ctx, healthyUser, healthyName(i), s.url+healthyPath, eventType(healthyName(i))); err != nil {
			return err
		}
	}
	for _, bad := range scenario.bad {
		if err := s.addPartner(ctx, bad.user, bad.name, s.url+bad.path, eventType(bad.name)); err != nil {
			return err
		}
	}
	body := json.RawMessage(payloadOf(512))
	if err := s.enqueueEvents(ctx, len(scenario.bad)*scenario.each, func(i int) *jobs.Event {
		bad := scenario.bad[i%len(scenario.bad)]
		return &jobs.Event{UserID: bad.user, Type: eventType(bad.name), Payload: body}
	}); err != nil {
		return err
	}
	return s.tidy(ctx)
}

// healthyName is the name of a healthy partner.
func healthyName(number int) string { return fmt.Sprint("p", number) }

// eventType is the type of the events that go to one partner and no other.
func eventType(name string) string { return name + ".call" }

// startWorkers starts workers and waits until they take deliveries. Hanging requests do not keep them from
// stopping.
func (c *fairnessCommand) startWorkers(ctx context.Context, s *stage) ([]*process, error) {
	bounded, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	workers := make([]*process, c.Workers)
	for i := range workers {
		socket := filepath.Join(s.dir, fmt.Sprint("health-", i+1))
		settings := append([]string{"SHUTDOWN_TIMEOUT=1", "WORKER_HEALTH_ADDR=unix:" + socket}, c.Set...)
		var err error
		if workers[i], err = s.startWorker(strconv.Itoa(i+1), settings...); err != nil {
			return nil, err
		}
		if err := waitReady(bounded, socket); err != nil {
			return nil, errors.Join(err, workers[i].stop())
		}
	}
	return workers, nil
}

// workersCPU is the CPU time so far of workers and of PostgreSQL.
func workersCPU(s *stage, workers []*process) (ofWorkers, ofServer time.Duration, err error) {
	for _, worker := range workers {
		used, err := treeCPU(worker.cmd.Process.Pid)
		if err != nil {
			return 0, 0, err
		}
		ofWorkers += used
	}
	used, err := s.cpu()
	return ofWorkers, used.server, err
}
