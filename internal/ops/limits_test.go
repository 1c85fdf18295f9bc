package ops

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// impatient is a server that gives up on slow clients at once.
func impatient(t *testing.T) *Server {
	t.Helper()

	server := listen(t)
	server.http.ReadHeaderTimeout, server.http.ReadTimeout, server.http.IdleTimeout = 100*time.Millisecond, 200*time.Millisecond, 100*time.Millisecond
	run(t, server)
	return server
}

// say sends bytes and reads until the server closes the connection.
func say(t *testing.T, server *Server, text string) string {
	t.Helper()

	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, _ = io.WriteString(conn, text) // the server may have had enough before the end
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// Clients that say too little or too much are hung up on, all well before their own patience ends.
func TestSlowAndLongClients(t *testing.T) {
	t.Parallel()

	server := impatient(t)
	host := "Host: localhost\r\n"
	for name, tt := range map[string][2]string{
		"nothing":      {"", ""},
		"half a line":  {"GET /riverui/ HT", ""},
		"half headers": {"GET /riverui/ HTTP/1.1\r\n" + host + "X: ", ""},
		"half a body":  {"POST /riverui/api/jobs/retry HTTP/1.1\r\n" + host + "Content-Length: 100\r\n\r\n{", "HTTP/1.1 500 "},
		"idle":         {"GET /healthz HTTP/1.1\r\n" + host + "\r\n", "HTTP/1.1 200 "},
		"long headers": {"GET /riverui/ HTTP/1.1\r\n" + host + "X: " + strings.Repeat("x", 2*maxHeaderBytes) + "\r\n\r\n", "HTTP/1.1 431 "},
		"long path":    {"GET /riverui/" + strings.Repeat("x", 2*maxHeaderBytes) + " HTTP/1.1\r\n" + host + "\r\n", "HTTP/1.1 431 "},
		"no host":      {"GET /riverui/ HTTP/1.0\r\n\r\n", "HTTP/1.0 421 "},
		"two hosts":    {"GET /riverui/ HTTP/1.1\r\n" + host + host + "\r\n", "HTTP/1.1 400 "},
		"noise":        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/1.1 400 "},
	} {
		answer := say(t, server, tt[0])
		require.True(t, strings.HasPrefix(answer, tt[1]), "%s: %q", name, answer)
		require.NotContains(t, answer, "River", name)
	}
}

func TestLongBody(t *testing.T) {
	t.Parallel()

	server := start(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.at("/riverui/api/jobs/retry"), strings.NewReader(strings.Repeat(" ", 2*maxBodyBytes)))
	require.NoError(t, err)
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
}

// More clients than are served wait, and are served when others go.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()

	server := start(t)
	address := server.listener.Addr().String()
	var idle []net.Conn
	for range maxConns {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		require.NoError(t, err)
		defer conn.Close()
		idle = append(idle, conn)
	}
	last, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	defer last.Close()
	_, err = fmt.Fprintf(last, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, last.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = bufio.NewReader(last).ReadByte()
	require.Error(t, err, "there is no room yet")
	require.NoError(t, idle[0].Close())
	require.NoError(t, last.SetReadDeadline(time.Now().Add(patience)))
	line, err := bufio.NewReader(last).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 200 OK\r\n", line)
}

// What goes wrong inside is in the log and not on the page.
func TestErrorsTellNothing(t *testing.T) {
	t.Parallel()

	var log bytes.Buffer
	panicking := withRecovery(slog.New(slog.NewTextHandler(&log, nil)), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("leaky") }))
	recorder := httptest.NewRecorder()
	panicking.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	require.Equal(t, http.StatusInternalServerError, recorder.Code)
	require.Equal(t, "something went wrong; the log says what\n", recorder.Body.String())
	require.Contains(t, log.String(), "leaky")
	require.Panics(t, func() {
		withRecovery(slog.New(slog.DiscardHandler), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })).
			ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	})

	nowhere, err := pgxpool.New(t.Context(), "postgres://leaky:leaky@127.0.0.1:1/leaky")
	require.NoError(t, err)
	t.Cleanup(nowhere.Close)
	broken := testdb.New(t)
	_, err = broken.Exec(t.Context(), `alter table river_job rename to leaky; alter table river_queue rename to leaky_too`)
	require.NoError(t, err)
	for _, pool := range []*pgxpool.Pool{nowhere, broken} {
		server := start(t, func(cfg *Config) { cfg.Pool = pool })
		for _, path := range []string{"/jobs", "/jobs/7", "/jobs/seven", "/queues", "/queues/webhooks", "/states", "/autocomplete?facet=job_kind", "/health-checks/complete", "/features"} {
			got := do(t, http.MethodGet, server.at("/riverui/api"+path))
			for _, part := range []string{"leaky", "127.0.0.1", "SQLSTATE", "river_", "pgx", ".go", "goroutine", "relation"} {
				require.NotContains(t, got.body, part, path)
			}
		}
		got := do(t, http.MethodPost, server.at("/riverui/api/jobs/retry"))
		require.NotEqual(t, http.StatusOK, got.status)
		require.NotContains(t, got.body, "leaky")
	}
}
