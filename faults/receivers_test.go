//go:build faults

package faults

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// misbehave is a scenario whose receiver does something bad for a while under load and recovers. tries says
// whether that makes tries fail.
func misbehave(t *testing.T, bad behaviour, tries bool, environ ...string) {
	t.Helper()
	const lasting = 5 * time.Second
	w := newWorld(t, &setting{environ: environ})
	w.receiver.behave(slow(usualAnswer))
	process := w.startWorker(t, "a")
	stopLoad := w.load(t, usualLoad)
	w.flow(t, 50)
	w.receiver.behave(bad)
	time.Sleep(lasting)
	back := time.Now()
	w.receiver.behave(answer(http.StatusOK))
	waiting := w.ledger.committed()
	stopLoad()
	w.settle(t, settleBound)
	caughtUp := w.receiver.arrived(t, settleBound, waiting)
	failed := w.receiver.count(func(a *arrival) bool { return a.refused })
	require.Equal(t, tries, failed > 0, "%d tries failed", failed)
	require.Less(t, process.peakMemory(t), 256, "MiB of memory")
	w.conclude(t, settleBound, &rules{failures: tries}, took(back, caughtUp, "until nothing waited"))
}

func TestReceiverAnswersErrors(t *testing.T) {
	t.Parallel()
	misbehave(t, answer(http.StatusInternalServerError), true)
}

func TestReceiverClosesAfterHeaders(t *testing.T) {
	t.Parallel()
	misbehave(t, closeAfterHeaders, true)
}

func TestReceiverResetsInRequest(t *testing.T) {
	t.Parallel()
	misbehave(t, resetInRequest, true)
}

func TestReceiverResetsInAnswer(t *testing.T) {
	t.Parallel()
	misbehave(t, resetInAnswer, false)
}

func TestReceiverAnswersGarbage(t *testing.T) {
	t.Parallel()
	misbehave(t, garbage, true)
}

func TestReceiverDripsItsAnswer(t *testing.T) {
	t.Parallel()
	misbehave(t, drip, true, "HTTP_TIMEOUT=2")
}

func TestReceiverAnswersHugeBody(t *testing.T) {
	t.Parallel()
	misbehave(t, huge, false)
}

// Nobody listens for a while.
func TestReceiverDown(t *testing.T) {
	t.Parallel()
	absent(t, 1, 6*time.Second)
}

func TestReceiverFlaps(t *testing.T) {
	t.Parallel()
	absent(t, 6, time.Second)
}

// absent takes the receiver down several times, each for so long and with as long a pause after it. Requests
// that are at the receiver are cut without an answer, and tried again.
func absent(t *testing.T, times int, lasting time.Duration) {
	t.Helper()
	w := newWorld(t, &setting{})
	w.receiver.behave(slow(usualAnswer))
	w.startWorker(t, "a")
	stopLoad := w.load(t, usualLoad)
	w.flow(t, 100)
	var (
		back    time.Time
		allowed int
	)
	for range times {
		allowed += w.receiver.down()
		time.Sleep(lasting)
		w.receiver.up(t)
		back = time.Now()
		time.Sleep(min(lasting, time.Second))
	}
	stopLoad()
	caughtUp := w.receiver.arrived(t, settleBound, w.ledger.committed())
	w.conclude(t, settleBound, &rules{duplicates: allowed, failures: true}, took(back, caughtUp, "until nothing waited"))
}

// The partner's TLS is broken in one way after the other, and mended.
func TestReceiverBreaksTLS(t *testing.T) {
	t.Parallel()
	certificates := newCertificates(t)
	w := newWorld(t, &setting{tls: certificates.config(), environ: []string{"SSL_CERT_FILE=" + writeRoots(t, certificates)}})
	w.startWorker(t, "a")
	stopLoad := w.load(t, usualLoad)
	w.flow(t, 50)
	allowed := 0
	for _, mode := range []tlsMode{tlsForeign, tlsExpired, tlsRefused} {
		certificates.use(mode)
		allowed += w.receiver.down() // kept connections would go on
		w.receiver.up(t)
		began := time.Now()
		time.Sleep(2 * time.Second)
		require.Zero(t, w.receiver.count(func(a *arrival) bool { return a.began.After(began) }), "delivered through broken TLS, kind %d", mode)
	}
	back := time.Now()
	certificates.use(tlsGood)
	stopLoad()
	caughtUp := w.receiver.arrived(t, settleBound, w.ledger.committed())
	w.conclude(t, settleBound, &rules{duplicates: allowed, failures: true}, took(back, caughtUp, "until nothing waited"))
	var kinds int
	require.NoError(t, w.postgres.connect(t).QueryRow(t.Context(), `select count(*) from webhook_delivery_log where error_kind = 'tls'`).Scan(&kinds))
	require.NotZero(t, kinds, "no attempt says that TLS was wrong")
}

func writeRoots(t *testing.T, certificates *certificates) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(file, certificates.roots, 0o600))
	return file
}
