package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// key seals the partners' secrets, and secret is each one's: 32 and 24 zeros. The tests know both.
	key    = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	// rotated is the secret after that of the partner called rotated.
	rotated = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"

	// address is where the partners are in the file. The tests put theirs in its place.
	address = "http://127.0.0.1:9000"

	sceneTimeout = time.Minute
	look         = 50 * time.Millisecond
)

// scene drives a release's program as its user does, so that it can be any release.
type scene struct {
	ctx     context.Context //nolint:containedctx // it lives as long as the scene
	binary  string
	environ []string
	conn    *pgx.Conn
}

// play leaves a database with a partner for each way that deliveries go, and a delivery or two of each:
//
//	ok        delivered; and two that nobody has begun
//	rotated   delivered, and one that nobody has begun; two secrets sign
//	retry     waits for its second try of six
//	last      waits for its second try of two
//	dead      a dead letter
//	paused    put off; and one that is cancelled
//	hang      was under way when its worker died
func play(parent context.Context, binary, url string, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(parent, sceneTimeout)
	defer cancel()
	release := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/retry", "/last", "/dead":
			w.WriteHeader(http.StatusInternalServerError)
		case "/hang":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
	}))
	defer receiver.Close()
	defer close(release)
	s := &scene{ctx: ctx, binary: binary, conn: conn, environ: []string{
		"DATABASE_URL=" + url, "WEBHOOK_ENCRYPTION_KEY=" + key, "WEBHOOK_ALLOW_HTTP=true", "WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8",
	}}

	if err := s.call("migrate", "up"); err != nil {
		return err
	}
	if err := s.addPartners(receiver.URL); err != nil {
		return err
	}
	worker := s.command("work", "--instance", "dies")
	if err := worker.Start(); err != nil {
		return fmt.Errorf("starting the worker: %w", err)
	}
	defer func() {
		_ = worker.Process.Kill()
		_ = worker.Wait()
	}()
	for _, event := range []string{"ok", "rotated", "retry", "last", "dead", "paused", "cancelled", "hang"} {
		if err := s.send(event+"-1", strings.Replace(event, "cancelled", "paused", 1)); err != nil {
			return err
		}
	}
	if err := s.await(`
		select string_agg(args->>'event_id' || ' ' || state || ' ' || attempt, ', ' order by args->>'event_id') from river_job where kind = 'webhook_delivery'`,
		"cancelled-1 scheduled 0, dead-1 discarded 1, hang-1 running 1, last-1 retryable 1, ok-1 completed 1, paused-1 scheduled 0, retry-1 retryable 1, rotated-1 completed 1"); err != nil {
		return err
	}
	var id string
	if err := conn.QueryRow(ctx, `select args->>'delivery_id' from river_job where args->>'event_id' = 'cancelled-1'`).Scan(&id); err != nil {
		return fmt.Errorf("looking for a delivery: %w", err)
	}
	if err := s.call("deliveries", "cancel", id); err != nil {
		return err
	}
	if err := worker.Process.Kill(); err != nil {
		return fmt.Errorf("killing the worker: %w", err)
	}
	_ = worker.Wait() // it was killed
	return errors.Join(s.send("ok-2", "ok"), s.send("rotated-2", "rotated"),
		s.exec(`select enqueue_webhook_event('tenant', 'call.ok', '{"z": 1.50, "a": "ok-3"}', 'ok-3')`),
		s.exec(`update partner_webhooks set url = replace(url, '`+receiver.URL+`', '`+address+`')`))
}

func (s *scene) addPartners(receiver string) error {
	for slug, flags := range map[string][]string{
		"ok": {"--field", "brand=AcmeVoice"}, "rotated": nil, "retry": nil, "last": {"--max-retries", "1"}, "dead": {"--max-retries", "0"}, "paused": nil, "hang": nil,
	} {
		if err := s.call(append([]string{
			"partner", "add", "--user", "tenant", "--name", slug, "--slug", slug, "--url", receiver + "/" + slug, "--event", "call." + slug, "--secret", secret,
		}, flags...)...); err != nil {
			return err
		}
	}
	return errors.Join(
		s.call("partner", "rotate-secret", "--user", "tenant", "rotated", "--secret", rotated, "--overlap", "36500d"),
		s.call("partner", "pause", "--user", "tenant", "paused"))
}

// send enqueues an event of a partner's own type.
func (s *scene) send(id, partner string) error {
	return s.call("send", "--user", "tenant", "--event", "call."+partner, "--id", id, "--data", `{"z": 1.50, "a": "`+id+`"}`)
}

func (s *scene) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, s.binary, args...) //nolint:gosec // what is asked for
	cmd.Env = s.environ
	return cmd
}

// call runs a command to its end.
func (s *scene) call(args ...string) error {
	if output, err := s.command(args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, output)
	}
	return nil
}

func (s *scene) exec(statement string) error {
	if _, err := s.conn.Exec(s.ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// await waits until a query returns a text.
func (s *scene) await(query, want string) error {
	for {
		var got *string
		if err := s.conn.QueryRow(s.ctx, query).Scan(&got); err != nil {
			if got == nil {
				return fmt.Errorf("waiting for %q: %w", want, err)
			}
			return fmt.Errorf("waiting for %q, there is %q: %w", want, *got, err)
		}
		if got != nil && *got == want {
			return nil
		}
		select {
		case <-s.ctx.Done():
			return fmt.Errorf("waiting for %q, there is %q: %w", want, *got, s.ctx.Err())
		case <-time.After(look):
		}
	}
}
