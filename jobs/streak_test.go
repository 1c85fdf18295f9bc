package jobs

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/partners"
)

// The verdicts of the tests.
func wellDone() *Verdict { return &Verdict{Outcome: OutcomeDelivered} }

func wentWrong(why string) *Verdict {
	return &Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindHTTPStatus, Error: why}
}

func toldToSlow(retryAfter time.Duration) *Verdict {
	return &Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindHTTPStatus, Error: "slow down", SlowDown: true, RetryAfter: retryAfter}
}

// deliveryIDs makes ids that tests can tell apart.
func deliveryIDs(n int) []uuid.UUID {
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = uuid.UUID{15: byte(i + 1)}
	}
	return ids
}

func TestTells(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		verdict *Verdict
		tells   bool
	}{
		"delivered":             {wellDone(), true},
		"an answer":             {wentWrong("500"), true},
		"no answer":             {&Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindTimeout}, true},
		"no connection":         {&Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindConnect}, true},
		"not let out":           {&Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindBlocked}, true},
		"a fault of ours":       {&Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindInternal}, false},
		"the proxy's fault":     {&Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindConnect, PutOff: true}, false},
		"nobody knows":          {&Verdict{Outcome: OutcomeLost, ErrorKind: partners.KindShutdown}, false},
		"nothing was sent":      {&Verdict{Outcome: OutcomeCancelled, ErrorKind: partners.KindInternal}, false},
		"it asks to slow down":  {toldToSlow(time.Second), true},
		"it wants no more":      {&Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindHTTPStatus, Gone: true}, true},
		"it leads us elsewhere": {&Verdict{Outcome: OutcomeFailed, ErrorKind: partners.KindRedirect}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.tells, tells(test.verdict))
		})
	}
}

func TestStreakAdd(t *testing.T) {
	t.Parallel()
	ids := deliveryIDs(5)
	var s streak
	s.add(roomTime, ids[0], wentWrong("first"))
	s.add(roomTime.Add(time.Second), ids[0], wentWrong("again"))
	require.Equal(t, streak{failures: 2, deliveries: ids[:1], first: roomTime, last: roomTime.Add(time.Second), err: "again"}, s)
	for i := range ids {
		s.add(roomTime.Add(2*time.Second), ids[i], wentWrong("all"))
	}
	require.Equal(t, 7, s.failures)
	require.Equal(t, ids[:circuitDeliveries], s.deliveries)
	s.add(roomTime.Add(3*time.Second), ids[4], wellDone())
	require.Equal(t, streak{delivered: true}, s, "the row is over")
	s.add(roomTime.Add(4*time.Second), ids[4], wentWrong("new"))
	require.Equal(t, streak{
		delivered: true, failures: 1, deliveries: ids[4:], first: roomTime.Add(4 * time.Second), last: roomTime.Add(4 * time.Second), err: "new",
	}, s)
}

// What is merged is what would have been seen in one.
func TestStreakMerge(t *testing.T) {
	t.Parallel()
	ids := deliveryIDs(6)
	const d = -1 // a delivered try; else the number of the delivery that failed
	tests := map[string]struct{ before, after []int }{
		"nothing":                     {nil, nil},
		"before alone":                {[]int{0, 1}, nil},
		"after alone":                 {nil, []int{0, 1}},
		"failures":                    {[]int{0, 1}, []int{2}},
		"the same deliveries":         {[]int{0, 1}, []int{1, 0}},
		"more deliveries than count":  {[]int{0, 1}, []int{2, 3, 4}},
		"as many as count before":     {[]int{0, 1, 2}, []int{3}},
		"delivered after":             {[]int{0, 1}, []int{d}},
		"delivered after, and failed": {[]int{0, 1}, []int{2, d, 3, 4}},
		"delivered before":            {[]int{0, d}, []int{1}},
		"failed after delivered":      {[]int{d, 0}, []int{1, 1, 2, 3}},
		"delivered twice":             {[]int{d, 0}, []int{d}},
		"delivered, and nothing":      {[]int{d}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var before, after, all streak
			at := roomTime
			see := func(verdicts []int, into *streak) {
				for _, which := range verdicts {
					at = at.Add(time.Second)
					verdict, id := wellDone(), ids[0]
					if which != d {
						verdict, id = wentWrong(at.String()), ids[which]
					}
					into.add(at, id, verdict)
					all.add(at, id, verdict)
				}
			}
			see(test.before, &before)
			see(test.after, &after)
			untouched := after
			before.merge(&after)
			require.Equal(t, all, before)
			require.Equal(t, untouched, after)
		})
	}
}

func TestStreakMergeKeepsTheLongerWait(t *testing.T) {
	t.Parallel()
	long, short := roomTime.Add(time.Hour), roomTime.Add(time.Second)
	for name, test := range map[string]struct{ before, after, want time.Time }{
		"longer before":  {long, short, long},
		"longer after":   {short, long, long},
		"none after":     {short, time.Time{}, short},
		"none at all":    {},
		"none before it": {time.Time{}, short, short},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := streak{failures: 1, slowedUntil: test.before}, streak{failures: 1, slowedUntil: test.after}
			before.merge(&after)
			require.Equal(t, test.want, before.slowedUntil)
			fresh := streak{delivered: true, failures: 1, slowedUntil: test.after}
			before.merge(&fresh)
			require.Equal(t, test.after, before.slowedUntil, "a delivery ends what was before")
		})
	}
}
