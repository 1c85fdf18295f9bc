package ops

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// patience is far longer than anything here takes.
const patience = 30 * time.Second

func listen(t *testing.T, change ...func(*Config)) *Server {
	t.Helper()

	cfg := &Config{Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
	for _, apply := range change {
		apply(cfg)
	}
	if cfg.Pool == nil {
		cfg.Pool = testdb.New(t)
	}
	server, err := NewServer(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.listener.Close() })
	return server
}

// run serves until the test ends, and returns what ends it earlier.
func run(t *testing.T, server *Server) (stop context.CancelFunc, ended <-chan error) {
	t.Helper()

	ctx, cancel := context.WithCancel(t.Context())
	result, closed := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(closed)
		result <- server.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-closed
	})
	return cancel, result
}

func start(t *testing.T, change ...func(*Config)) *Server {
	t.Helper()

	server := listen(t, change...)
	run(t, server)
	return server
}

func (s *Server) at(path string) string { return "http://" + s.listener.Addr().String() + path }

// do makes a request without following redirects.
func do(t *testing.T, method, url string, header ...string) (response *http.Response, body string) {
	t.Helper()

	request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       patience,
	}
	response, err = client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, string(content)
}

func TestExposed(t *testing.T) {
	t.Parallel()

	pool := testdb.New(t)
	for _, addr := range []string{
		"0.0.0.0:0", ":0", "[::]:0", "", "127.0.0.1", "192.0.2.1:80", "[2001:db8::1]:80", "example.com:80", "127.0.0.1.example.com:80",
		"localhost.example.com:80", "0:0", "[::ffff:0.0.0.0]:0", "128.0.0.1:80", "10.0.0.1:80",
	} {
		_, err := NewServer(t.Context(), &Config{Pool: pool, Addr: addr, Logger: slog.New(slog.DiscardHandler)})
		require.ErrorIs(t, err, ErrExposed, addr)
	}
	for _, addr := range []string{"127.0.0.1:0", "127.0.0.2:80", "[::1]:0", "localhost:0", "[::ffff:127.0.0.1]:0"} {
		require.True(t, isLoopback(addr), addr)
	}

	withCredentials := func(cfg *Config) { cfg.Pool, cfg.Addr, cfg.User, cfg.Password = pool, "0.0.0.0:0", "ada", "hunter2" }
	require.NotEmpty(t, listen(t, withCredentials).URL())
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()

	server := listen(t)
	_, err := NewServer(t.Context(), &Config{Pool: testdb.New(t), Addr: server.listener.Addr().String(), Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "listening for pages")
}

func TestPages(t *testing.T) {
	t.Parallel()

	server := start(t)
	response, page := do(t, http.MethodGet, server.URL())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Contains(t, response.Header.Get("Content-Type"), "text/html")
	require.Contains(t, page, `<div id="root"`)
	require.Equal(t, "DENY", response.Header.Get("X-Frame-Options"))
	require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "no-referrer", response.Header.Get("Referrer-Policy"))

	assets := regexp.MustCompile(`(?:src|href)="(/[^"]+\.(?:js|css|svg|ico))"`).FindAllStringSubmatch(page, -1)
	kinds := map[string]bool{}
	for _, asset := range assets {
		response, content := do(t, http.MethodGet, server.at(asset[1]))
		require.Equal(t, http.StatusOK, response.StatusCode, asset[1])
		require.NotContains(t, content, `<div id="root"`, "%s is the page itself", asset[1])
		kinds[asset[1][strings.LastIndex(asset[1], "."):]] = true
	}
	require.Contains(t, kinds, ".js")
	require.Contains(t, kinds, ".css")

	response, states := do(t, http.MethodGet, server.at("/riverui/api/states"))
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Contains(t, states, `"available"`)

	response, _ = do(t, http.MethodGet, server.at("/"))
	require.Equal(t, http.StatusSeeOther, response.StatusCode)
	require.Equal(t, "/riverui/", response.Header.Get("Location"))
	response, _ = do(t, http.MethodGet, server.at("/elsewhere"))
	require.Equal(t, http.StatusNotFound, response.StatusCode)
}

func TestCredentials(t *testing.T) {
	t.Parallel()

	server := start(t, func(cfg *Config) { cfg.User, cfg.Password = "ada", "hunter2" })
	get := func(path, user, password string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.at(path), http.NoBody)
		require.NoError(t, err)
		request.SetBasicAuth(user, password)
		response, _ := do(t, http.MethodGet, server.at(path), "Authorization", request.Header.Get("Authorization"))
		return response.StatusCode
	}
	require.Equal(t, http.StatusOK, get("/riverui/", "ada", "hunter2"))
	for _, wrong := range [][2]string{{"ada", ""}, {"", ""}, {"", "hunter2"}, {"ada", "hunter"}, {"ada", "hunter22"}, {"Ada", "hunter2"}, {"hunter2", "ada"}} {
		for _, path := range []string{"/riverui/", "/riverui/api/states", "/", "/elsewhere"} {
			require.Equal(t, http.StatusUnauthorized, get(path, wrong[0], wrong[1]), "%s %s", path, wrong)
		}
	}
	response, page := do(t, http.MethodGet, server.at("/riverui/"))
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	require.Contains(t, response.Header.Get("WWW-Authenticate"), "Basic ")
	require.NotContains(t, page, "hunter2")
	response, _ = do(t, http.MethodGet, server.at("/healthz"))
	require.Equal(t, http.StatusOK, response.StatusCode, "a health check has no credentials")
}

func TestHealth(t *testing.T) {
	t.Parallel()

	response, body := do(t, http.MethodGet, start(t).at("/healthz"))
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "ok\n", body)

	nowhere, err := pgxpool.New(t.Context(), "postgres://leaky:leaky@127.0.0.1:1/nowhere")
	require.NoError(t, err)
	t.Cleanup(nowhere.Close)
	response, body = do(t, http.MethodGet, start(t, func(cfg *Config) { cfg.Pool = nowhere }).at("/healthz"))
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Equal(t, "the database does not answer\n", body)
}

func TestOtherSitesAreRefused(t *testing.T) {
	t.Parallel()

	server := start(t)
	pause := server.at("/riverui/api/queues/webhooks/pause")
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			response, _ := do(t, method, pause, header...)
			require.Equal(t, http.StatusForbidden, response.StatusCode, "%s %v", method, header)
		}
	}
	// River UI itself, and programs that are no browser, get through to its API.
	for _, header := range [][]string{nil, {"Sec-Fetch-Site", "same-origin"}, {"Origin", "http://" + server.listener.Addr().String()}} {
		response, body := do(t, http.MethodPut, pause, header...)
		require.Equal(t, http.StatusNotFound, response.StatusCode, "there is no such queue: %s", body)
		require.Contains(t, body, "webhooks")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()

	server := listen(t)
	stop, ended := run(t, server)
	response, _ := do(t, http.MethodGet, server.at("/healthz"))
	require.Equal(t, http.StatusOK, response.StatusCode)
	stop()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "still running")
	}
	_, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.listener.Addr().String())
	require.Error(t, err)
}

// Run returns when the last answer is out, and not when it begins to stop.
func TestRunFinishesWhatItAnswers(t *testing.T) {
	t.Parallel()

	server := listen(t)
	asked, stopping, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	server.http.RegisterOnShutdown(func() { close(stopping) })
	server.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-release
		_, _ = io.WriteString(w, "the last words")
	})
	stop, ended := run(t, server)

	answered := make(chan string, 1)
	go func() {
		_, body := do(t, http.MethodGet, server.at("/"))
		answered <- body
	}()
	<-asked
	stop()
	<-stopping
	select {
	case <-ended:
		require.Fail(t, "it ended while an answer was under way")
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	require.Equal(t, "the last words", <-answered)
	require.NoError(t, <-ended)
}

func TestRunWithoutListener(t *testing.T) {
	t.Parallel()

	server := listen(t)
	require.NoError(t, server.listener.Close())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.ErrorContains(t, server.Run(ctx), "serving pages")
}
