// Command webhook-worker delivers webhooks from PostgreSQL: see `webhook-worker --help`.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// net/http writes to the standard logger what partners decide, such as the start of an answer that nobody
	// asked for. The program's own log has a logger of its own.
	slog.SetDefault(slog.New(slog.DiscardHandler))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal stops in good order; after it a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
