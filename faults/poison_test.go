//go:build faults

package faults

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// poisonRetries is how often what fails on purpose is tried again in these scenarios.
const poisonRetries = 1

// A payload kills the worker that posts it. The first two losses in a row cost no try, the later ones do, and
// so it ends as a dead letter. Everything else is delivered.
func TestDeadlyPayload(t *testing.T) {
	t.Parallel()
	const freeLosses = 2
	w := newWorld(t, &setting{retries: poisonRetries})
	deadly := w.enqueue(t, 1)[0]
	var (
		mu      sync.Mutex
		allowed []func() int
	)
	w.receiver.behave(func(x *exchange) {
		if !x.read() {
			return
		}
		if x.arrival.event != deadly || x.arrival.path != "/first" {
			x.answer(http.StatusOK)
			return
		}
		for _, process := range w.live() {
			if process.ports()[x.arrival.port] {
				mu.Lock()
				allowed = append(allowed, w.kill(process))
				mu.Unlock()
			}
		}
		<-x.request.Context().Done()
	})
	poison := w.ledger.idOf(deadly, "/first")
	pause := func() time.Duration { return time.Duration(rand.Int64N(int64(time.Second))) }
	w.supervise(t, "a", pause)
	w.supervise(t, "b", pause)
	began := time.Now()
	stopLoad := w.load(t, 10)
	conn := w.postgres.connect(t)
	require.Eventually(t, func() bool {
		var status string
		err := conn.QueryRow(t.Context(), `select status from webhook_delivery_queue where id = $1`, poison).Scan(&status)
		return err == nil && status == "dead_letter"
	}, 2*time.Minute, 200*time.Millisecond, "a payload that kills its workers is no dead letter")
	ended := time.Now()
	stopLoad()
	tries := w.receiver.count(func(a *arrival) bool { return a.id == poison })
	require.Equal(t, freeLosses+1+poisonRetries, tries, "times that the payload killed a worker")
	mu.Lock()
	defer mu.Unlock()
	w.conclude(t, settleBound, &rules{
		duplicates: sum(allowed),
		ends:       map[string]string{poison: "dead_letter"},
	}, took(began, ended, "until it was a dead letter"))
}

// A job that means nothing ends as a dead letter and holds up nobody.
func TestUnreadableJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &setting{retries: poisonRetries})
	w.startWorker(t, "a")
	began := time.Now()
	w.postgres.exec(t, `
		insert into river_job (kind, queue, max_attempts, args)
		select 'webhook_delivery', 'webhooks', 2, args
		  from unnest(array['{"version": "one"}', '{"delivery_id": 7}', '{"delivery_id": "none"}', '[]']::jsonb[]) as args`)
	w.enqueue(t, 50)
	w.settle(t, settleBound)
	ended := time.Now()
	conn := w.postgres.connect(t)
	var dead int
	require.NoError(t, conn.QueryRow(t.Context(), `select count(*) from river_job where kind = 'webhook_delivery' and state = 'discarded'`).Scan(&dead))
	require.Equal(t, 4, dead)
	require.Contains(t, w.doctor(t), "delivery_without_event (4)")
	w.postgres.exec(t, `delete from river_job where state = 'discarded'`)
	w.conclude(t, settleBound, &rules{}, took(began, ended, "until all had ended"))
}

// An event was removed before its deliveries were made: they are cancelled, and the others delivered.
func TestEventGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &setting{retries: poisonRetries})
	gone := w.enqueue(t, 10)
	w.enqueue(t, 50)
	_, err := w.pool.Exec(context.WithoutCancel(t.Context()), `delete from webhook_events where event_id = any($1)`, gone)
	require.NoError(t, err)
	began := time.Now()
	w.startWorker(t, "a")
	w.settle(t, settleBound)
	ended := time.Now()
	ends := map[string]string{}
	for _, event := range gone {
		for _, slug := range w.subscribed {
			ends[w.ledger.idOf(event, "/"+slug)] = "cancelled"
		}
	}
	require.Zero(t, w.receiver.count(func(a *arrival) bool { return ends[a.id] != "" }), "sent without a payload")
	w.conclude(t, settleBound, &rules{ends: ends}, took(began, ended, "until all had ended"))
}
