//go:build browser

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// attack is a page that tries to retry a job on another origin in all ways that need no preflight, and in one
// that does.
const attack = `<!doctype html><title>attack</title>
<form method="post" action="%[1]s" enctype="text/plain"><input name='{"ids":["%[2]d"],"x":"' value='"}'></form>
<script>
async function attack() {
  const tried = [];
  const body = JSON.stringify({ids: ["%[2]d"]});
  for (const [mode, credentials, type] of [
    ["no-cors", "include", "text/plain"], ["no-cors", "omit", "text/plain"], ["cors", "include", "text/plain"], ["cors", "include", "application/json"],
  ]) {
    try {
      const answer = await fetch("%[1]s", {method: "POST", mode, credentials, body, headers: {"Content-Type": type}});
      tried.push(answer.type);
    } catch {
      tried.push("refused");
    }
  }
  return tried.join(" ");
}
</script>`

// evilSite serves a page, and gives its URL under a host name that leads to this machine.
func evilSite(t *testing.T, host, page string) string {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page)
	}))
	t.Cleanup(site.Close)
	_, port, err := net.SplitHostPort(site.Listener.Addr().String())
	require.NoError(t, err)
	return "http://" + net.JoinHostPort(host, port) + "/"
}

// Nobody has to enter a password here, so that what another site sends is as good as what River UI sends.
func TestBrowserRefusesOtherSites(t *testing.T) {
	t.Parallel()
	dead := newDeadLetter(t)
	page := dead.serve(t)
	b := newBrowser(t)
	retry := page + "api/jobs/retry"
	refused := "POST 403 /riverui/api/jobs/retry"

	// A sibling on another port is of the same site, and no less another's.
	for _, host := range []string{"evil.test", "localhost", "127.0.0.1"} {
		b.forget()
		b.do(t, chromedp.Navigate(evilSite(t, host, fmt.Sprintf(attack, retry, dead.job))))
		require.Equal(t, "refused refused refused refused", b.eval(t, "attack()"), host)
		b.sees(t, 3, refused)
		b.forget()
		b.do(t, chromedp.Submit("form", chromedp.NodeReady))
		b.sees(t, 1, refused)
		require.Equal(t, "discarded", dead.state(t), host)
	}

	// The same from River UI.
	b.see(t, fmt.Sprintf("%sjobs/%d", page, dead.job), dead.delivery)
	b.forget()
	b.do(t, b.click("Retry"))
	require.Eventually(t, func() bool { return dead.state(t) == "available" }, waitFor, look)
	b.sees(t, 1, "POST 200 /riverui/api/jobs/retry") // the browser hears of it after the database
	complaints, _ := b.happened()
	require.Empty(t, complaints)
}

func TestBrowserRefusesFrames(t *testing.T) {
	t.Parallel()
	dead := newDeadLetter(t)
	page := dead.serve(t)
	b := newBrowser(t)

	for _, host := range []string{"evil.test", "localhost", "127.0.0.1"} {
		b.forget()
		b.do(t, chromedp.Navigate(evilSite(t, host, `<iframe src="`+page+`" onload="document.title = 'framed'"></iframe>`)))
		b.eval(t, `new Promise(done => setInterval(() => document.title && done(document.title), 10))`)
		b.sees(t, 1, "GET 200 /riverui/")
		require.Eventually(t, func() bool {
			complaints, _ := b.happened()
			return strings.Contains(strings.Join(complaints, "\n"), `violates the following Content Security Policy directive: "frame-ancestors 'none'"`)
		}, waitFor, look, host)
		_, answers := b.happened()
		require.NotContains(t, strings.Join(answers, "\n"), "/assets/", "nothing of it ran")
	}
}

// A name that leads to this machine makes another's page of River UI's own origin.
func TestBrowserRefusesRebinding(t *testing.T) {
	t.Parallel()
	dead := newDeadLetter(t)
	at, err := url.Parse(dead.serve(t))
	require.NoError(t, err)
	b := newBrowser(t)
	at.Host = net.JoinHostPort("evil.test", at.Port())
	shown := b.see(t, at.String(), "not served under this name")
	require.NotContains(t, shown, "River")
	said := b.eval(t, fmt.Sprintf(`fetch("/riverui/api/jobs/retry", {method: "POST", body: '{"ids":["%d"]}'}).then(answer => answer.text())`, dead.job))
	require.Contains(t, said, "not served under this name")
	require.Equal(t, "discarded", dead.state(t))
}

func TestBrowserReadOnly(t *testing.T) {
	t.Parallel()
	dead := newDeadLetter(t)
	page := dead.serve(t, "--read-only")
	b := newBrowser(t)
	b.see(t, fmt.Sprintf("%sjobs/%d", page, dead.job), dead.delivery)
	b.do(t, b.click("Retry"))
	b.sees(t, 1, "POST 403 /riverui/api/jobs/retry")
	b.do(t, b.shows("read-only"))
	b.picture(t, "read-only")
	require.Equal(t, "discarded", dead.state(t))
}
