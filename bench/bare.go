package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/epicvoice/webhook-worker/internal/pgplans"
	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

// bareSecret signs what the bare worker sends.
const bareSecret = partners.Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

// bareCooldown is the least time between two fetches, as the product has it.
const bareCooldown = 10 * time.Millisecond

// bareArgs are all that a bare worker needs: it reads no table but River's.
type bareArgs struct {
	ID   string `json:"id"`
	URL  string `json:"url"`
	Body string `json:"body"`
}

// Kind is the job kind that River finds the bare worker by.
func (bareArgs) Kind() string { return "bench_post" }

// bareCommand is the limit that the product is measured against: River with a signed POST and nothing else. It
// runs in a process of its own, as the product's workers do.
type bareCommand struct {
	Concurrent int  `default:"500" help:"POSTs at once."`
	Log        bool `help:"Write each POST's intent and outcome to webhook_delivery_log, by group commit."`
}

// Run works until it is interrupted.
func (c *bareCommand) Run(ctx context.Context) error {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	config.MaxConns = 8
	pgplans.Renew(config)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer pool.Close()

	worker := &bareWorker{client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		MaxIdleConns: c.Concurrent, MaxIdleConnsPerHost: c.Concurrent, DisableCompression: true,
	}}}
	if c.Log {
		worker.log = jobs.NewAttemptLog(&jobs.AttemptLogConfig{Pool: pool, Logger: slog.Default(), BatchSize: c.Concurrent}) //nolint:contextcheck // it ends with Close
		defer func() { _ = worker.log.Close(context.WithoutCancel(ctx)) }()
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, worker)
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Logger:        slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Workers:       workers,
		FetchCooldown: bareCooldown,
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: c.Concurrent}},
	})
	if err != nil {
		return fmt.Errorf("making a River client: %w", err)
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("starting River: %w", err)
	}
	<-ctx.Done()
	return client.Stop(context.WithoutCancel(ctx))
}

type bareWorker struct {
	river.WorkerDefaults[bareArgs]

	client *http.Client
	log    *jobs.AttemptLog // nil: nothing is written
}

// Work makes one signed POST.
func (w *bareWorker) Work(ctx context.Context, job *river.Job[bareArgs]) error {
	attempt := &jobs.Attempt{
		ID: uuid.New(), JobID: job.ID, Number: job.Attempt, Trigger: jobs.TriggerSchedule, Outcome: jobs.OutcomeSending,
		URL: &job.Args.URL, ClientID: "bare", StartedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
	if w.log != nil {
		if err := w.log.Open(ctx, attempt); err != nil {
			return err
		}
	}
	status, err := w.post(ctx, &job.Args)
	if w.log != nil {
		attempt.Outcome, attempt.ResponseStatus = jobs.OutcomeDelivered, &status
		err = errors.Join(err, w.log.CloseAttempt(ctx, attempt))
	}
	return err
}

func (w *bareWorker) post(ctx context.Context, args *bareArgs) (int, error) {
	now := time.Now()
	signature, err := partners.Sign([]partners.Secret{bareSecret}, args.ID, now, []byte(args.Body))
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, args.URL, bytes.NewReader([]byte(args.Body)))
	if err != nil {
		return 0, fmt.Errorf("making a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("webhook-id", args.ID)
	request.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	request.Header.Set("webhook-signature", signature)
	answer, err := w.client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("posting: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, fmt.Errorf("reading the answer: %w", err)
	}
	return answer.StatusCode, nil
}

// fillBare puts jobs into River's default queue.
func fillBare(ctx context.Context, pool *pgxpool.Pool, url, body string, count int) error {
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	if err != nil {
		return fmt.Errorf("making a River client: %w", err)
	}
	const perStatement = 1000
	for start := 0; start < count; start += perStatement {
		params := make([]river.InsertManyParams, min(perStatement, count-start))
		for i := range params {
			params[i] = river.InsertManyParams{Args: bareArgs{ID: uuid.NewString(), URL: url, Body: body}}
		}
		if _, err := client.InsertManyFast(ctx, params); err != nil {
			return fmt.Errorf("filling the queue: %w", err)
		}
	}
	return nil
}
