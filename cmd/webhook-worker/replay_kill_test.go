package main

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slow leaves time to end a replay in its midst, however slow the machine is.
const slow = "--rate=100/s"

// TestReplayIsKilled kills a replay in its midst. Run again to the end, it has delivered everything once.
func TestReplayIsKilled(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		state string
		args  string
	}{
		"dead letters":         {"discarded", "replay --status dead_letter"},
		"delivered ones":       {"completed", "replay --status delivered --since 1h --run monday"},
		"what a partner lacks": {"missing", "replay --missing --since 1h --partner late"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			terminal, pool := newTerminal(t)
			late := newSink(t)
			terminal.addPartner(t, "u", "acme", late.URL)
			var ids []string
			if test.state == "missing" {
				past(t, pool, "u", "acme", "completed", 2000)
				terminal.addPartner(t, "u", "late", late.URL)
			} else {
				ids = past(t, pool, "u", "acme", test.state, 2000)
			}
			terminal.start(t, "work")
			replay, process := terminal.startProcess(t, append(strings.Fields(test.args), slow)...)
			require.Eventually(t, func() bool { return late.received() >= 300 }, waitFor, time.Millisecond, replay.stderr)
			require.NoError(t, process.Kill())
			killed, err := process.Wait()
			require.NoError(t, err)
			require.Equal(t, syscall.SIGKILL, killed.Sys().(syscall.WaitStatus).Signal(), "it had not ended")
			require.Less(t, late.received(), 2000)

			again := terminal.ok(t, strings.Fields(test.args)...)
			require.Regexp(t, `\d+ deliveries (replayed|made)`, again.stderr)
			require.Eventually(t, func() bool {
				return countRows(t, pool, `webhook_delivery_queue where status = 'delivered' and job_id in (select id from river_job where metadata ? 'trigger')`) == 2000
			}, waitFor, look)
			if test.state == "missing" {
				require.NoError(t, pool.QueryRow(t.Context(), `select array_agg(delivery_ids[2]::text) from webhook_events`).Scan(&ids))
			}
			late.requireEachOnce(t, ids)
			require.Equal(t, 2000, countRows(t, pool, `webhook_delivery_log where trigger <> 'schedule' and outcome = 'delivered'`))
		})
	}
}

// TestReplayIsInterrupted takes what an interrupted replay says at its word.
func TestReplayIsInterrupted(t *testing.T) {
	t.Parallel()
	says := regexp.MustCompile(`^webhook-worker: replay: interrupted after (\d+) of 1000 deliveries; to go on, run the same command again with (.*)\n$`)
	tests := map[string]struct {
		signal os.Signal
		state  string
		args   string
		again  string // what it asks for
	}{
		"dead letters, by hand":   {os.Interrupt, "discarded", "replay --status dead_letter", `--run replay-\S+`},
		"dead letters, stopped":   {syscall.SIGTERM, "discarded", "replay --user u --partner acme --run monday", `--run monday`},
		"delivered ones, by hand": {os.Interrupt, "completed", "replay --status delivered", `--run replay-\S+ --since \S+Z --until \S+Z`},
		"delivered ones, stopped": {syscall.SIGTERM, "completed", "replay --status delivered --run monday", `--run monday --since \S+Z --until \S+Z`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			terminal, pool := newTerminal(t)
			acme := newSink(t)
			terminal.addPartner(t, "u", "acme", acme.URL)
			ids := past(t, pool, "u", "acme", test.state, 1000)
			terminal.start(t, "work")
			args := strings.Fields(test.args)
			if test.state == "completed" {
				args = append(args, "--since", "1h", "--until", "1s")
			}
			replay, process := terminal.startProcess(t, append(slices.Clone(args), slow)...)
			require.Eventually(t, func() bool { return acme.received() >= 200 }, waitFor, time.Millisecond, replay.stderr)
			require.NoError(t, process.Signal(test.signal))
			ended, err := process.Wait()
			require.NoError(t, err)
			replay.stop() // it has ended: what it wrote is all here
			require.Equal(t, 1, ended.ExitCode(), replay.stderr)
			require.Empty(t, replay.stdout.String())
			first, last, found := strings.Cut(replay.stderr.String(), "\n")
			require.True(t, found)
			require.Regexp(t, `^1000 deliveries in run \S+$`, first)
			said := says.FindStringSubmatch(last)
			require.Len(t, said, 3, replay.stderr)
			done, err := strconv.Atoi(said[1])
			require.NoError(t, err)
			require.Equal(t, countRows(t, pool, replayedJobs), done)
			require.Less(t, done, 1000)
			require.Regexp(t, `^`+test.again+`$`, said[2])

			flags := strings.Fields(said[2])
			run := flags[1]
			if test.state == "completed" { // the ages are replaced
				args = args[:len(args)-4]
			}
			result := terminal.ok(t, append(slices.Clone(args), flags...)...)
			require.Contains(t, result.stderr, " in run "+run+"\n")
			require.Contains(t, result.stderr, strconv.Itoa(1000-done)+" deliveries replayed\n")
			require.Eventually(t, func() bool {
				return countRows(t, pool, `river_job where state = 'completed' and metadata->>'replay_run' = $1`, run) == 1000
			}, waitFor, look)
			acme.requireEachOnce(t, ids)
		})
	}
}
