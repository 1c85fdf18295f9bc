//go:build browser

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// deadLetter is a database with one dead letter, everything about which has "canary" in it that is not to
// be seen.
type deadLetter struct {
	terminal *terminal
	pool     *pgxpool.Pool
	job      int64
	delivery string
}

func newDeadLetter(t *testing.T) *deadLetter {
	t.Helper()
	terminal, pool := newTerminal(t)
	partner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Canary", "canary-header")
		http.Error(w, "canary-answer", http.StatusInternalServerError)
	}))
	t.Cleanup(partner.Close)
	terminal.addPartner(t, "user-1", "acme", partner.URL+"/canary-path?token=canary-token",
		"--secret", "canary-secret-0123456789", "--max-retries", "0", "--field", "note=canary-field")
	terminal.ok(t, "send", "--user", "user-1", "--event", "call.completed", "--data", `{"note":"canary-payload"}`)
	dead := &deadLetter{terminal: terminal, pool: pool}
	worker := terminal.start(t, "work")
	require.Eventually(t, func() bool { return dead.state(t) == "discarded" }, waitFor, look)
	require.Zero(t, worker.stop())
	require.NoError(t, pool.QueryRow(t.Context(), `
		select id, args->>'delivery_id' from river_job where kind = 'webhook_delivery'`).Scan(&dead.job, &dead.delivery))
	return dead
}

func (d *deadLetter) state(t *testing.T) string {
	t.Helper()
	var state string
	require.NoError(t, d.pool.QueryRow(t.Context(), `select state from river_job where kind = 'webhook_delivery'`).Scan(&state))
	return state
}

// serve starts serve, and gives the URL of River UI.
func (d *deadLetter) serve(t *testing.T, flags ...string) string {
	t.Helper()
	return serveOn(t, d.terminal, flags...)
}

func serveOn(t *testing.T, terminal *terminal, flags ...string) string {
	t.Helper()
	serve := terminal.start(t, append([]string{"serve", "--addr", "127.0.0.1:0"}, flags...)...)
	line := regexp.MustCompile(`https?://\S+/riverui/`)
	require.Eventually(t, func() bool { return line.MatchString(serve.stderr.String()) }, waitFor, look)
	return line.FindString(serve.stderr.String())
}

func TestBrowserShowsPagesWithoutSecrets(t *testing.T) {
	t.Parallel()
	dead := newDeadLetter(t)
	protected := dead.terminal.with("WEBHOOK_UI_USER=admin",
		"WEBHOOK_UI_PASSWORD="+strings.TrimSpace((&terminal{stdin: "canary-password\n"}).ok(t, "keys", "hash-password").stdout))
	page := serveOn(t, protected)
	b := newBrowser(t)

	withPassword, err := url.Parse(page + "api/states") // no page: one whose URL has a password can't ask for anything
	require.NoError(t, err)
	withPassword.User = url.UserPassword("admin", "canary-password")
	b.do(t, chromedp.Navigate(withPassword.String()))

	var everything strings.Builder
	for name, tt := range map[string][2]string{
		"jobs":   {"jobs?state=discarded", "webhook_delivery"},
		"job":    {fmt.Sprintf("jobs/%d", dead.job), dead.delivery},
		"queues": {"queues", "webhooks"},
		"queue":  {"queues/webhooks", "webhooks"},
	} {
		everything.WriteString(b.see(t, page+tt[0], tt[1]))
		b.picture(t, name)
	}
	everything.WriteString(b.eval(t, fmt.Sprintf(`Promise.all(["jobs?state=discarded", "jobs/%d", "queues", "queues/webhooks", "states", "autocomplete?facet=job_kind"].
		map(path => fetch("/riverui/api/" + path).then(answer => answer.text()))).then(all => all.join("\n"))`, dead.job)))
	complaints, answers := b.happened()
	require.Empty(t, complaints)
	answers = slices.DeleteFunc(answers, func(answer string) bool {
		// Asked for by the browser itself, sooner or later and not always announced, since what it opened first
		// names no icon.
		return answer == "GET 404 /favicon.ico" || answer == " 404 "
	})
	require.NotContains(t, strings.Join(answers, "\n"), " 40")
	require.Contains(t, everything.String(), dead.delivery)
	require.Contains(t, everything.String(), `"attempted_by"`)
	require.NotContains(t, everything.String(), "canary")
}
