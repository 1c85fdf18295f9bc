// Command bench measures the product as its users run it: a private PostgreSQL with its default settings,
// worker processes of the real binary, and a receiver, all on this machine.
//
//	go run ./bench latency --events 1000
//	go run ./bench enqueue --partners 1,100
//	go run ./bench stream --clients 100
//	go run ./bench sizes --bodies 512,65536 --workers 1
//	go run ./bench flat --backlog 1000000
//	go run ./bench throughput --partners 100 --try "small WORKER_BATCH_SIZE=10"
//	go run ./bench statements --deliveries 60000
//	go run ./bench fairness --rate 200 --pending 20000
//	go run ./bench history --explain plans.txt
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// commandLine has one field a benchmark.
type commandLine struct {
	Latency    latencyCommand    `cmd:"" help:"Time from an event's commit to its arrival at the partner, on an idle system."`
	Throughput throughputCommand `cmd:"" help:"Deliveries a second from a backlog, beside those of bare River workers."`
	Stream     streamCommand     `cmd:"" help:"Deliveries a second while events are committed, each on its own, by many clients at once."`
	Enqueue    enqueueCommand    `cmd:"" help:"Cost of enqueueing an event, beside a transaction with as many bare River jobs."`
	Sizes      sizesCommand      `cmd:"" help:"Deliveries a second by size of payload and number of workers; memory and goroutines by deliveries under way."`
	Flat       flatCommand       `cmd:"" help:"Deliveries a second with a backlog, a history and many retries in the database, beside an empty one."`
	Statements statementsCommand `cmd:"" help:"The statements that take PostgreSQL's time, and what each costs a delivery."`
	Fairness   fairnessCommand   `cmd:"" help:"What partners that hang or fail cost healthy ones."`
	Bare       bareCommand       `cmd:"" hidden:"" help:"Be such a bare worker."`
	History    historyCommand    `cmd:"" help:"Times of queries, and the cost of enqueueing, on a database with a year's history."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var line commandLine
	parsed := kong.Parse(&line, kong.Name("bench"), kong.BindTo(ctx, (*context.Context)(nil)))
	if err := parsed.Run(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "bench: %s\n", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}
