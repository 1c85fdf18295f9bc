// Command bench measures the product as its users run it: a private PostgreSQL with its default settings,
// worker processes of the real binary, and a receiver, all on this machine.
//
//	go run ./bench latency --events 1000
//	go run ./bench throughput --batch-sizes 10,50,200,1000
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
	Throughput throughputCommand `cmd:"" help:"Deliveries a second of one worker that drains a backlog."`
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
