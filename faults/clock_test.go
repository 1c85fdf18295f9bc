//go:build faults

package faults

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/devpg"
)

func TestClockAhead(t *testing.T) {
	t.Parallel()
	wrongClock(t, "-600")
}

func TestClockBehind(t *testing.T) {
	t.Parallel()
	wrongClock(t, "+600")
}

// wrongClock puts seconds between the workers' clocks and the database's. It is the database that is shifted,
// with libfaketime: Go reads the clock without a call that could be caught. Retries come after the configured
// delay all the same, and nobody takes the other for dead.
func wrongClock(t *testing.T, offset string) {
	t.Helper()
	const (
		delay    = 3 * time.Second
		lateness = 10 * time.Second // generous: a slow machine
		early    = 100 * time.Millisecond
	)
	w := newWorld(t, &setting{
		binDirs: []string{shiftedPostgres(t, offset)},
		environ: []string{"RETRY_BASE_DELAY=3", "RETRY_MAX_DELAY=3", "CIRCUIT_FAILURES=0"}, // each first try fails
	})
	w.receiver.anyTime = true // timestamps are of the wrong clock
	w.receiver.behave(firstThen(answer(http.StatusInternalServerError), answer(http.StatusOK)))
	w.startWorker(t, "a")
	w.startWorker(t, "b")
	fault := time.Now()
	w.enqueue(t, 40)
	recovered := w.receiver.again(t, delay+2*lateness, fault, w.ledger.committed())
	first := map[string]time.Time{}
	for _, a := range w.receiver.all() {
		began, again := first[a.id]
		if !again {
			first[a.id] = a.began
			continue
		}
		require.WithinRange(t, a.began, began.Add(delay-early), began.Add(delay+lateness), "the retry of %s", a.id)
	}
	w.conclude(t, lateness, &rules{failures: true}, took(fault, recovered, "until all were retried"))
}

// shiftedPostgres is a directory of PostgreSQL's programs whose server has another time of day.
func shiftedPostgres(t *testing.T, offset string) string {
	t.Helper()
	libraries, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	require.NoError(t, err)
	require.NotEmpty(t, libraries, "libfaketime is needed: apt-get install libfaketime")
	var found string
	for _, dir := range devpg.DefaultBinDirs(t.Context()) {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			found = dir
			break
		}
	}
	require.NotEmpty(t, found, "PostgreSQL's programs are needed")
	dir, err := os.MkdirTemp(shared.dir, "shifted-") //nolint:usetesting // the account that runs PostgreSQL can't enter t.TempDir
	require.NoError(t, err)
	script := "#!/bin/sh\nexport LD_PRELOAD=" + libraries[0] + " FAKETIME=" + offset + " FAKETIME_DONT_FAKE_MONOTONIC=1\n" +
		"exec " + filepath.Join(found, "postgres") + ` "$@"` + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres"), []byte(script), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Symlink(filepath.Join(found, "initdb"), filepath.Join(dir, "initdb")))
	return dir
}
