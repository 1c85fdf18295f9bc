package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	const asked = 7 * time.Second
	answer := func(status int) *partners.Response { return &partners.Response{Status: status, RetryAfter: asked} }
	httpStatus := func(text string) jobs.Verdict {
		return jobs.Verdict{Outcome: jobs.OutcomeFailed, ErrorKind: partners.KindHTTPStatus, Error: "the partner answered " + text}
	}
	slowDown := func(text string) jobs.Verdict {
		verdict := httpStatus(text)
		verdict.SlowDown, verdict.RetryAfter = true, asked
		return verdict
	}
	gone := httpStatus("410 Gone")
	gone.Gone = true
	redirect := jobs.Verdict{
		Outcome: jobs.OutcomeFailed, ErrorKind: partners.KindRedirect,
		Error: "the partner answered 302 Found, and redirects are not followed",
	}
	stopped := fmt.Errorf("stopped: %w", context.Canceled)

	tests := map[string]struct {
		response *partners.Response
		want     jobs.Verdict
	}{
		"200":                 {answer(200), jobs.Verdict{Outcome: jobs.OutcomeDelivered}},
		"204":                 {answer(204), jobs.Verdict{Outcome: jobs.OutcomeDelivered}},
		"299":                 {answer(299), jobs.Verdict{Outcome: jobs.OutcomeDelivered}},
		"101":                 {answer(101), httpStatus("101 Switching Protocols")},
		"302":                 {answer(302), redirect},
		"400":                 {answer(400), httpStatus("400 Bad Request")},
		"401":                 {answer(401), httpStatus("401 Unauthorized")},
		"404":                 {answer(404), httpStatus("404 Not Found")},
		"410":                 {answer(410), gone},
		"429":                 {answer(429), slowDown("429 Too Many Requests")},
		"500":                 {answer(500), httpStatus("500 Internal Server Error")},
		"502":                 {answer(502), slowDown("502 Bad Gateway")},
		"503":                 {answer(503), slowDown("503 Service Unavailable")},
		"504":                 {answer(504), slowDown("504 Gateway Timeout")},
		"a status of no name": {answer(599), httpStatus("599")},
		"no answer": {
			&partners.Response{Kind: partners.KindTimeout, Err: errors.New("no answer within 30s")},
			jobs.Verdict{Outcome: jobs.OutcomeFailed, ErrorKind: partners.KindTimeout, Error: "no answer within 30s"},
		},
		"shutdown": {
			&partners.Response{Kind: partners.KindShutdown, Err: stopped},
			jobs.Verdict{Outcome: jobs.OutcomeLost, ErrorKind: partners.KindShutdown, Error: stopped.Error()},
		},
	}
	for name, test := range tests {
		require.Equal(t, test.want, jobs.Judge(test.response), name)
	}
}
