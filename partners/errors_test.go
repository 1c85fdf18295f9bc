package partners

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// accept starts a TCP server that hands each connection to handle, and returns its HOST:PORT. Connections
// are closed when the test ends.
func accept(t *testing.T, handle func(conn *net.TCPConn)) string {
	t.Helper()

	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var (
		handlers sync.WaitGroup
		mu       sync.Mutex
		open     []net.Conn
	)
	handlers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			handlers.Go(func() { handle(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		handlers.Wait()
	})
	return listener.Addr().String()
}

// listen is a server that reads a request, writes answer, and then closes the connection or holds it.
func listen(t *testing.T, answer string, hold bool) (url string) {
	t.Helper()

	return "http://" + accept(t, func(conn *net.TCPConn) {
		defer func() { _ = conn.Close() }()
		if request, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.Copy(io.Discard, request.Body)
		}
		_, _ = io.WriteString(conn, answer)
		if hold {
			_, _ = io.Copy(io.Discard, conn)
		}
	})
}

// closedPort returns a HOST:PORT where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()

	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func requireKind(t *testing.T, response *Response, kind ErrorKind, text string) {
	t.Helper()

	require.Error(t, response.Err)
	require.Equal(t, kind, response.Kind, response.Err)
	require.ErrorContains(t, response.Err, text)
	require.NotContains(t, response.Err.Error(), "Post ", "the client's own words repeat the URL")
	require.Zero(t, response.Status)
	require.Empty(t, response.Body)
	require.Positive(t, response.Duration)
	require.Less(t, response.Duration, patience)
}

func TestErrorKinds(t *testing.T) {
	t.Parallel()

	answers := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }
	versions := func(low, high uint16) func(*httptest.Server) {
		return func(server *httptest.Server) { server.TLS = &tls.Config{MinVersion: low, MaxVersion: high} }
	}
	resets := func(conn *net.TCPConn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
	greets := func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.9\r\n")
		_, _ = io.Copy(io.Discard, conn)
	}
	http2 := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		func(server *httptest.Server) { server.EnableHTTP2 = true })
	old := serve(t, answers, versions(tls.VersionTLS10, tls.VersionTLS11))
	uncalled := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was called") })

	standard := func(*SenderConfig) {}
	short := withTimeout(300 * time.Millisecond)
	guarded := func(cfg *SenderConfig) { cfg.Guard = NewGuard(&GuardConfig{AllowPorts: allPorts}) }

	for _, tt := range []struct {
		name   string
		url    string
		config func(*SenderConfig)
		kind   ErrorKind
		text   string
	}{
		{"name without address", "https://partner.invalid/hook", standard, KindDNS, "looking up partner.invalid: "},
		{"closed port", "http://" + closedPort(t), standard, KindConnect, "connection refused"},
		{"reset before an answer", "http://" + accept(t, resets), standard, KindConnect, ""},
		{"closed before an answer", listen(t, "", false), standard, KindConnect, "EOF"},
		{"closed in the header", listen(t, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n", false), standard, KindConnect, "EOF"},
		{"closed in the handshake", "https://" + accept(t, func(conn *net.TCPConn) { _ = conn.Close() }), standard, KindConnect, ""},
		{"HTTP/2 stream reset", http2.URL, trust(http2), KindConnect, "stream error"},
		{"self-signed certificate", serve(t, answers, versions(tls.VersionTLS12, tls.VersionTLS13)).URL, standard, KindTLS, "certificate"},
		{"old TLS", old.URL, trust(old), KindTLS, "protocol version"},
		{"plain HTTP on a TLS port", "https" + serve(t, answers).URL[len("http"):], standard, KindTLS, "HTTP response to HTTPS client"},
		{"garbage on a TLS port", "https://" + accept(t, greets), standard, KindTLS, "TLS handshake"},
		{"never answers", listen(t, "", true), short, KindTimeout, "no answer within 300ms"},
		{"never ends its header", listen(t, "HTTP/1.1 200 OK\r\nContent-", true), short, KindTimeout, "no answer within 300ms"},
		{"never shakes hands", "https" + listen(t, "", true)[len("http"):], short, KindTimeout, "no answer within 300ms"},
		{"loopback without allowance", uncalled.URL, guarded, KindBlocked, "this address may not be called"},
		{"name of a loopback address", strings.Replace(uncalled.URL, "127.0.0.1", "localhost", 1), guarded, KindBlocked, "this address may not be called"},
		{"garbage", listen(t, "220 mail.example.com ESMTP\r\n\r\n", false), standard, KindProtocol, "malformed HTTP"},
		{"a status that is none", listen(t, "HTTP/1.1 000 Hello\r\n\r\n", false), standard, KindProtocol, `status "000 Hello" is not HTTP`},
		{"a status of two digits", listen(t, "HTTP/1.1 +12 Hello\r\n\r\n", false), standard, KindProtocol, "is not HTTP"},
		{"endless header", listen(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2*maxHeaderBytes)+"\r\n\r\n", false), standard, KindProtocol, "exceeded"},
		{"URL that cannot be read", "http://%zz", standard, KindInternal, "making the request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			requireKind(t, newSender(t, tt.config).Send(t.Context(), newRequest(tt.url)), tt.kind, tt.text)
		})
	}
}

// A tenant learns nothing of the network behind the guard.
func TestBlockedSaysNothingMore(t *testing.T) {
	t.Parallel()

	sender := newSender(t, func(cfg *SenderConfig) { cfg.Guard = NewGuard(&GuardConfig{AllowPorts: allPorts}) })
	for _, url := range []string{"http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "http://[::ffff:127.0.0.1]:1/"} {
		response := sender.Send(t.Context(), newRequest(url))
		require.EqualError(t, response.Err, "this address may not be called", url)
		require.Equal(t, KindBlocked, response.Kind)
	}
}

func TestNothingLeavesUnsigned(t *testing.T) {
	t.Parallel()

	server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was called") })
	for _, secrets := range [][]Secret{nil, {"whsec_leaky!"}, {GenerateSecret(), "whsec_leaky!"}} {
		request := newRequest(server.URL)
		request.Secrets = secrets
		response := newSender(t).Send(t.Context(), request)
		requireKind(t, response, KindInternal, "sign")
		require.NotContains(t, response.Err.Error(), "leaky")
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()

	ctx, cancel := context.WithCancel(t.Context())
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see the connection end
		cancel()
		<-r.Context().Done()
	})
	response := newSender(t).Send(ctx, newRequest(server.URL))
	requireKind(t, response, KindShutdown, "stopped before the answer")
	require.ErrorIs(t, response.Err, context.Canceled)

	requireKind(t, newSender(t).Send(ctx, newRequest(server.URL)), KindShutdown, "stopped before the answer")
}

func TestCallersDeadline(t *testing.T) {
	t.Parallel()

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	requireKind(t, newSender(t).Send(ctx, newRequest(listen(t, "", true))), KindTimeout, "no answer within")
}

// It changes the environment, so it does not run in parallel.
func TestProxiesOfTheEnvironmentAreIgnored(t *testing.T) {
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was called") })
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")

	for _, url := range []string{"http://partner.invalid/", "https://partner.invalid/"} {
		// The environment is one that net/http's default would follow.
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, http.NoBody)
		require.NoError(t, err)
		through, err := http.ProxyFromEnvironment(request)
		require.NoError(t, err)
		require.NotNil(t, through)

		requireKind(t, newSender(t).Send(t.Context(), newRequest(url)), KindDNS, "looking up partner.invalid")
	}
}
