//go:build faults

package faults

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// From when the partner's answer is on record until its job is completed, only the record keeps a delivery from
// being sent again if its worker dies; without the audit log nothing does. River completes jobs every 0.25 s.
func TestWindow(t *testing.T) {
	t.Parallel()
	const halfOf = 0.3 // seconds that half of all jobs may take: River's interval and a slow machine
	w := newWorld(t, &setting{postgres: map[string]string{"track_commit_timestamp": "on"}})
	w.startWorker(t, "a")
	stopLoad := w.load(t, usualLoad)
	w.flow(t, 500)
	stopLoad()
	w.receiver.arrived(t, settleBound, w.ledger.committed())
	w.settle(t, settleBound)
	var window []float64
	conn := w.postgres.connect(t)
	defer closeConn(conn)
	require.NoError(t, conn.QueryRow(t.Context(), `
		select percentile_cont(array[0.5, 0.99, 1]) within group (
		           order by extract(epoch from pg_xact_commit_timestamp(j.xmin) - pg_xact_commit_timestamp(l.xmin)))
		  from river_job j
		  join webhook_delivery_log l on l.job_id = j.id and l.outcome = 'delivered'
		 where j.state = 'completed'`).Scan(&window))
	require.Less(t, window[0], halfOf)
	w.conclude(t, settleBound, &rules{}, fmt.Sprintf("answer on record to job completed: half within %.2f s, 99 %% within %.2f s, all within %.2f s",
		window[0], window[1], window[2]))
}
