package partners

import (
	"bufio"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is far longer than anything here takes.
const patience = 30 * time.Second

// loopback is this machine.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// newSender makes a sender that may call this machine.
func newSender(t *testing.T, change ...func(*SenderConfig)) *Sender {
	t.Helper()

	cfg := &SenderConfig{
		Guard:     NewGuard(&GuardConfig{AllowNetworks: loopback()}),
		Timeout:   patience,
		MaxIdle:   10,
		UserAgent: "webhook-worker/test",
	}
	for _, apply := range change {
		apply(cfg)
	}
	sender := NewSender(cfg)
	t.Cleanup(sender.Close)
	return sender
}

func withTimeout(timeout time.Duration) func(*SenderConfig) {
	return func(cfg *SenderConfig) { cfg.Timeout = timeout }
}

// newRequest makes a request that is good but for its URL.
func newRequest(url string) *Request {
	return &Request{
		URL:       url,
		ID:        "5f0c6f0e-8b0a-4a55-9d0f-000000000001",
		EventType: "call.completed",
		Timestamp: time.Now(),
		Body:      []byte(`{"a":1}`),
		Secrets:   []Secret{"a raw secret"},
	}
}

// serve starts a server that says nothing of broken connections.
func serve(t *testing.T, handler http.HandlerFunc, change ...func(*httptest.Server)) *httptest.Server {
	t.Helper()

	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	for _, apply := range change {
		apply(server)
	}
	if server.TLS != nil || server.EnableHTTP2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server
}

func trust(server *httptest.Server) func(*SenderConfig) {
	return func(cfg *SenderConfig) {
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AddCert(server.Certificate())
	}
}

func TestSendSigned(t *testing.T) {
	t.Parallel()

	secrets := []Secret{GenerateSecret(), GenerateSecret(), "a raw secret"}
	for count := 1; count <= len(secrets); count++ {
		t.Run(strconv.Itoa(count), func(t *testing.T) {
			t.Parallel()

			var got *http.Request
			var body []byte
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got = r
				body, _ = io.ReadAll(r.Body)
				w.Header().Set("Retry-After", "120")
				w.Header().Set("X-Request-Id", "abc")
				w.Header().Set("Set-Cookie", "session=x")
				w.WriteHeader(http.StatusAccepted)
				_, _ = io.WriteString(w, "thanks")
			})
			request := newRequest(server.URL + "/hook?a=b")
			request.Secrets = secrets[:count]
			response := newSender(t).Send(t.Context(), request)

			require.NoError(t, response.Err)
			require.Empty(t, response.Kind)
			require.Equal(t, http.StatusAccepted, response.Status)
			require.Equal(t, "thanks", response.Body)
			require.Equal(t, "abc", response.Headers["x-request-id"])
			require.NotContains(t, response.Headers, "set-cookie")
			require.Equal(t, 2*time.Minute, response.RetryAfter)
			require.Positive(t, response.Duration)

			require.Equal(t, http.MethodPost, got.Method)
			require.Equal(t, "/hook?a=b", got.RequestURI)
			require.Equal(t, request.Body, body)
			require.EqualValues(t, len(request.Body), got.ContentLength)
			require.Equal(t, http.Header{
				"Content-Length":     {strconv.Itoa(len(request.Body))},
				"Content-Type":       {"application/json"},
				"User-Agent":         {"webhook-worker/test"},
				"Webhook-Id":         {request.ID},
				"Webhook-Timestamp":  {strconv.FormatInt(request.Timestamp.Unix(), 10)},
				"Webhook-Signature":  got.Header["Webhook-Signature"],
				"Webhook-Event-Type": {"call.completed"},
			}, got.Header)
			for i, secret := range secrets {
				err := verifier(t, secret).Verify(body, got.Header)
				require.Equal(t, i < count, err == nil, "secret %d: %v", i, err)
			}
		})
	}
}

func TestSendDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()

	var followed atomic.Int64
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		response := newSender(t).Send(t.Context(), newRequest(server.URL))
		require.NoError(t, response.Err)
		require.Equal(t, status, response.Status)
		require.Equal(t, elsewhere.URL, response.Headers["location"])
	}
	require.Zero(t, followed.Load())
}

func TestSendReusesConnections(t *testing.T) {
	t.Parallel()

	var connections atomic.Int64
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		length, _ := strconv.Atoi(r.URL.Query().Get("length"))
		_, _ = w.Write(make([]byte, length))
	}, func(server *httptest.Server) {
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
	})
	sender := newSender(t)
	for i, length := range []int{0, 1, 1000, keptBody, keptBody + 1, readLimit - 1, 0, 5, 0, 0} {
		response := sender.Send(t.Context(), newRequest(server.URL+"?length="+strconv.Itoa(length)))
		require.NoError(t, response.Err, "request %d", i)
	}
	require.EqualValues(t, 1, connections.Load())
}

func TestSendHTTP2(t *testing.T) {
	t.Parallel()

	var connections atomic.Int64
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}, func(server *httptest.Server) {
		server.EnableHTTP2 = true
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
	})
	sender := newSender(t, trust(server))
	for range 10 {
		response := sender.Send(t.Context(), newRequest(server.URL))
		require.NoError(t, response.Err)
		require.Equal(t, "HTTP/2.0", response.Body)
	}
	require.EqualValues(t, 1, connections.Load())
}

// A server that closes each connection after its answer, without saying so.
func TestSendOutlivesConnectionsThatThePartnerClosed(t *testing.T) {
	t.Parallel()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	var served, answered atomic.Int32
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				request, err := http.ReadRequest(bufio.NewReader(connection))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, request.Body)
				served.Add(1)
				_, _ = io.WriteString(connection, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}()
		}
	}()

	sender := NewSender(&SenderConfig{
		Guard: NewGuard(&GuardConfig{AllowNetworks: loopback()}), Timeout: 10 * time.Second, MaxIdle: 20, UserAgent: "test",
	})
	defer sender.Close()
	const each = 100
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			for range each {
				response := sender.Send(t.Context(), &Request{
					URL: "http://" + listener.Addr().String() + "/", ID: "id", EventType: "call.x", Timestamp: time.Now(),
					Body: []byte(`{}`), Secrets: []Secret{"a secret of 24 bytes or more"},
				})
				if response.Err != nil && closedWhileIdle(response.Err) {
					t.Errorf("%s: %v", response.Kind, response.Err)
				}
				if response.Status == http.StatusOK {
					answered.Add(1)
				}
			}
		})
	}
	group.Wait()
	// A connection that breaks under a request that may have been read is a failure, and left to the schedule.
	require.Equal(t, served.Load(), answered.Load(), "none is made twice")
	require.Greater(t, answered.Load(), int32(9*each))
}
