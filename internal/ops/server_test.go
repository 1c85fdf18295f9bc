package ops

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
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

func (s *Server) at(path string) string { return strings.TrimSuffix(s.URL(), uiPrefix+"/") + path }

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
	proto  string
}

// send makes a request without following redirects. header is names and values in turn.
func send(ctx context.Context, method, url string, header ...string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			request.Host = header[i+1]
		}
		request.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			ForceAttemptHTTP2: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       patience,
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(content), response.Proto}, err
}

// do is send for requests that must get an answer.
func do(t *testing.T, method, url string, header ...string) answer {
	t.Helper()

	got, err := send(t.Context(), method, url, header...)
	require.NoError(t, err)
	return got
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
		require.ErrorContains(t, err, "credentials (set WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD), and encryption (give --tls-cert", addr)
	}
	exposed := Config{Pool: pool, Addr: "0.0.0.0:0", User: "ada", Password: "hunter2", Logger: slog.New(slog.DiscardHandler)}
	_, err := NewServer(t.Context(), &exposed)
	require.ErrorIs(t, err, ErrExposed)
	require.ErrorContains(t, err, "need encryption")
	withoutUser := exposed
	withoutUser.User, withoutUser.BehindProxy = "", true
	_, err = NewServer(t.Context(), &withoutUser)
	require.ErrorIs(t, err, ErrExposed)
	require.ErrorContains(t, err, "need credentials (set WEBHOOK_UI_USER and WEBHOOK_UI_PASSWORD); or")

	for _, addr := range []string{"127.0.0.1:0", "127.0.0.2:80", "[::1]:0", "localhost:0", "[::ffff:127.0.0.1]:0"} {
		require.True(t, isLoopback(addr), addr)
	}

	for _, change := range []func(*Config){
		func(cfg *Config) { cfg.BehindProxy = true },
		func(cfg *Config) { cfg.Certificate = certificate(t, t.TempDir(), "pages.example") },
	} {
		encrypted := func(cfg *Config) {
			*cfg = exposed
			change(cfg)
		}
		require.NotEmpty(t, listen(t, encrypted).URL())
	}
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
	got := do(t, http.MethodGet, server.URL())
	require.Equal(t, http.StatusOK, got.status)
	require.Contains(t, got.header.Get("Content-Type"), "text/html")
	require.Contains(t, got.body, `<div id="root"`)
	require.Equal(t, "DENY", got.header.Get("X-Frame-Options"))
	require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
	require.Equal(t, "no-referrer", got.header.Get("Referrer-Policy"))

	assets := regexp.MustCompile(`(?:src|href)="(/[^"]+\.(?:js|css|svg|ico))"`).FindAllStringSubmatch(got.body, -1)
	kinds := map[string]bool{}
	for _, asset := range assets {
		got := do(t, http.MethodGet, server.at(asset[1]))
		require.Equal(t, http.StatusOK, got.status, asset[1])
		require.NotContains(t, got.body, `<div id="root"`, "%s is the page itself", asset[1])
		kinds[asset[1][strings.LastIndex(asset[1], "."):]] = true
	}
	require.Contains(t, kinds, ".js")
	require.Contains(t, kinds, ".css")

	got = do(t, http.MethodGet, server.at("/riverui/api/states"))
	require.Equal(t, http.StatusOK, got.status)
	require.Contains(t, got.body, `"available"`)

	got = do(t, http.MethodGet, server.at("/"))
	require.Equal(t, http.StatusSeeOther, got.status)
	require.Equal(t, "/riverui/", got.header.Get("Location"))
	got = do(t, http.MethodGet, server.at("/elsewhere"))
	require.Equal(t, http.StatusNotFound, got.status)
}

func TestCredentials(t *testing.T) {
	t.Parallel()

	server := start(t, func(cfg *Config) { cfg.User, cfg.Password = "ada", "hunter2" })
	get := func(path, user, password string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.at(path), http.NoBody)
		require.NoError(t, err)
		request.SetBasicAuth(user, password)
		return do(t, http.MethodGet, server.at(path), "Authorization", request.Header.Get("Authorization")).status
	}
	require.Equal(t, http.StatusOK, get("/riverui/", "ada", "hunter2"))
	for _, wrong := range [][2]string{{"ada", ""}, {"", ""}, {"", "hunter2"}, {"ada", "hunter"}, {"ada", "hunter22"}, {"Ada", "hunter2"}, {"hunter2", "ada"}} {
		for _, path := range []string{"/riverui/", "/riverui/api/states", "/", "/elsewhere"} {
			require.Equal(t, http.StatusUnauthorized, get(path, wrong[0], wrong[1]), "%s %s", path, wrong)
		}
	}
	got := do(t, http.MethodGet, server.at("/riverui/"))
	require.Equal(t, http.StatusUnauthorized, got.status)
	require.Contains(t, got.header.Get("WWW-Authenticate"), "Basic ")
	require.NotContains(t, got.body, "hunter2")
	got = do(t, http.MethodGet, server.at("/healthz"))
	require.Equal(t, http.StatusOK, got.status, "a health check has no credentials")
}

func TestHealth(t *testing.T) {
	t.Parallel()

	got := do(t, http.MethodGet, start(t).at("/healthz"))
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, "ok\n", got.body)

	nowhere, err := pgxpool.New(t.Context(), "postgres://leaky:leaky@127.0.0.1:1/nowhere")
	require.NoError(t, err)
	t.Cleanup(nowhere.Close)
	got = do(t, http.MethodGet, start(t, func(cfg *Config) { cfg.Pool = nowhere }).at("/healthz"))
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Equal(t, "the database does not answer\n", got.body)
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
			got := do(t, method, pause, header...)
			require.Equal(t, http.StatusForbidden, got.status, "%s %v", method, header)
		}
	}
	// River UI itself, and programs that are no browser, get through to its API.
	for _, header := range [][]string{nil, {"Sec-Fetch-Site", "same-origin"}, {"Origin", "http://" + server.listener.Addr().String()}} {
		got := do(t, http.MethodPut, pause, header...)
		require.Equal(t, http.StatusNotFound, got.status, "there is no such queue: %s", got.body)
		require.Contains(t, got.body, "webhooks")
	}
}
