package jobs_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/jobs"
	"github.com/epicvoice/webhook-worker/partners"
)

func TestWorkSendsThePartnersHeadersOfNow(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	var logged strings.Builder
	b.logger = slog.New(slog.NewTextHandler(io.MultiWriter(&logged, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug}))
	e := newEndpoint(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "not with "+r.Header.Get("Authorization"))
	})
	headers := func(token partners.Secret) partners.Headers {
		return partners.Headers{Plain: map[string]string{"X-Env": "prod"}, Secret: map[string]partners.Secret{"authorization": token}}
	}
	_, _, err := b.store.Create(t.Context(), user, &partners.Params{
		Name: "Acme", Slug: "acme", URL: e.URL, EnabledEvents: []string{"*"}, Headers: headers("Bearer first-leaky-token"),
	})
	require.NoError(t, err)
	delivery := b.enqueue(t, completed("e1"))[0]
	_, err = b.work(t, b.store, delivery, 1)
	require.ErrorContains(t, err, "the partner answered 403")
	_, err = b.store.Update(t.Context(), user, "acme", &partners.Changes{Headers: headers("Bearer second-leaky-token")})
	require.NoError(t, err)
	_, err = b.work(t, b.store, delivery, 2)
	require.ErrorContains(t, err, "the partner answered 403")

	got := e.received()
	require.Len(t, got, 2)
	require.Equal(t, "prod", got[0].header.Get("X-Env"))
	require.Equal(t, "Bearer first-leaky-token", got[0].header.Get("Authorization"))
	require.Equal(t, "Bearer second-leaky-token", got[1].header.Get("Authorization"))

	attempts := b.attempts(t, delivery)
	require.Len(t, attempts, 2)
	require.Equal(t, "not with [redacted]", *attempts[0].ResponseBody)
	var rows string
	require.NoError(t, b.pool.QueryRow(t.Context(), `
		select (select string_agg(l::text, ' ') from webhook_delivery_log l) || (select string_agg(j::text, ' ') from river_job j)
		    || (select string_agg(p::text, ' ') from partner_webhooks p)`).Scan(&rows))
	require.NotContains(t, rows+logged.String(), "leaky")
}

// A row that was changed by hand loses the delivery to a failure that names the header, and sends nothing.
func TestWorkSendsNothingWithoutASealedHeader(t *testing.T) {
	t.Parallel()
	b := setupWork(t)
	e := newEndpoint(t, status(http.StatusOK))
	b.partner(t, user, "acme", e.URL, "*")
	_, err := b.pool.Exec(t.Context(), `update partner_webhooks set request_headers = '{"X-Api-Key":null}'`)
	require.NoError(t, err)
	delivery := b.enqueue(t, completed("e1"))[0]
	_, err = b.work(t, b.store, delivery, 1)
	require.ErrorContains(t, err, `request_headers "X-Api-Key" must have a value`)
	require.Empty(t, e.received())
	require.Equal(t, partners.KindInternal, *b.attempts(t, delivery)[0].ErrorKind)
	require.Equal(t, jobs.OutcomeFailed, b.attempts(t, delivery)[0].Outcome)
}
