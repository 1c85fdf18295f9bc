//go:build faults

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
)

// gather collects the evidence of a world in which nothing happens any more.
func (w *world) gather(t *testing.T) *evidence {
	t.Helper()
	conn := w.postgres.connect(t)
	e := &evidence{
		planned:    map[string]planned{},
		rolledBack: map[string]bool{},
		arrivals:   w.receiver.all(),
		attempts:   readAttempts(t, conn),
		states:     readStates(t, conn),
		doctor:     w.doctor(t),
	}
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for event, became := range w.ledger.fates {
		if became == unknown && isStored(t, conn, event) {
			became = committed
		}
		if became != committed {
			e.rolledBack[event] = true
			continue
		}
		e.events++
		// Every event has as many deliveries as partners are subscribed, whatever enqueueing said.
		require.Len(t, w.ledger.ids[event], len(w.subscribed), "deliveries of event %s", event)
		for i, id := range w.ledger.ids[event] {
			e.planned[id] = w.ledger.events[event][i]
		}
	}
	return e
}

func isStored(t *testing.T, conn *pgx.Conn, event string) bool {
	t.Helper()
	var stored bool
	require.NoError(t, conn.QueryRow(context.Background(),
		`select exists (select from webhook_events where user_id = $1 and event_id = $2)`, user, event).Scan(&stored))
	return stored
}

func readAttempts(t *testing.T, conn *pgx.Conn) map[string]logged {
	t.Helper()
	rows, err := conn.Query(context.Background(), `
		select coalesce(delivery_id::text, ''),
		       count(*) filter (where outcome = 'delivered'),
		       count(*) filter (where outcome = 'failed'),
		       count(*) filter (where outcome = 'lost' and error_kind is distinct from 'shutdown'),
		       count(*) filter (where outcome = 'sending'),
		       count(*) filter (where outcome = 'lost' and error_kind = 'shutdown'),
		       count(*) filter (where outcome = 'cancelled')
		  from webhook_delivery_log
		 group by 1`)
	require.NoError(t, err)
	attempts := map[string]logged{}
	var (
		id string
		l  logged
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &l.delivered, &l.failed, &l.lost, &l.open, &l.shutdown, &l.cancelled}, func() error {
		attempts[id] = l
		return nil
	})
	require.NoError(t, err)
	return attempts
}

func readStates(t *testing.T, conn *pgx.Conn) map[string]state {
	t.Helper()
	rows, err := conn.Query(context.Background(), `select coalesce(id, ''), status, attempt_count from webhook_delivery_queue`)
	require.NoError(t, err)
	states := map[string]state{}
	var (
		id string
		s  state
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &s.status, &s.tries}, func() error {
		states[id] = s
		return nil
	})
	require.NoError(t, err)
	return states
}

// doctor is what `webhook-worker doctor` found, one line; empty if nothing.
func (w *world) doctor(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	doctor := exec.CommandContext(ctx, shared.binary, "doctor", "--json", "--limit", "2")
	doctor.Env = w.environ
	var stderr strings.Builder
	doctor.Stderr = &stderr
	stdout, err := doctor.Output()
	if err == nil {
		return ""
	}
	var (
		diagnosis jobs.Diagnosis
		found     []string
	)
	if json.Unmarshal(stdout, &diagnosis) == nil {
		for i := range diagnosis.Checks {
			for _, breach := range diagnosis.Checks[i].Breaches {
				found = append(found, fmt.Sprintf("%s (%d): %s", diagnosis.Checks[i].Name, diagnosis.Checks[i].Count, breach.Problem))
			}
		}
	}
	return strings.TrimSpace(strings.Join(found, "; ") + " " + stderr.String())
}
