package partners

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// forwardProxy is a proxy such as Squid: it tunnels what CONNECT asks for and forwards the rest.
type forwardProxy struct {
	*httptest.Server

	used atomic.Int64
}

// newProxy starts a proxy that answers with refuse instead, if that is given.
func newProxy(t *testing.T, refuse http.HandlerFunc, change ...func(*httptest.Server)) *forwardProxy {
	t.Helper()

	proxy := &forwardProxy{}
	forward := &httputil.ReverseProxy{Director: func(*http.Request) {}} //nolint:staticcheck // a forward proxy rewrites nothing
	proxy.Server = serve(t, func(w http.ResponseWriter, r *http.Request) {
		proxy.used.Add(1)
		switch {
		case refuse != nil:
			refuse(w, r)
		case r.Method == http.MethodConnect:
			tunnel(t, w, r)
		default:
			forward.ServeHTTP(w, r)
		}
	}, change...)
	return proxy
}

func tunnel(t *testing.T, w http.ResponseWriter, r *http.Request) {
	t.Helper()

	target, err := new(net.Dialer).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	go func() {
		_, _ = io.Copy(target, buffered)
		_ = target.Close()
	}()
	_, _ = io.Copy(client, target)
	_ = client.Close()
}

func (p *forwardProxy) url(t *testing.T) *url.URL {
	t.Helper()

	parsed, err := ParseProxyURL(p.URL)
	require.NoError(t, err)
	return parsed
}

func answerWith(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

func TestSendThroughAProxy(t *testing.T) {
	t.Parallel()

	plain := serve(t, answerWith(http.StatusNoContent))
	secure := serve(t, answerWith(http.StatusAccepted), func(server *httptest.Server) { server.EnableHTTP2 = true })
	overTLS := func(server *httptest.Server) { server.TLS = &tls.Config{MinVersion: tls.VersionTLS12} }
	overHTTP2 := func(server *httptest.Server) { server.EnableHTTP2 = true } // which it offers, and is not asked for
	for _, proxy := range []*forwardProxy{newProxy(t, nil), newProxy(t, nil, overTLS), newProxy(t, nil, overHTTP2)} {
		sender := newSender(t, trust(secure), func(cfg *SenderConfig) { // all of httptest's have one certificate
			cfg.Proxy = proxy.url(t)
		})
		require.Equal(t, http.StatusNoContent, sender.Send(t.Context(), newRequest(plain.URL)).Status)
		require.EqualValues(t, 1, proxy.used.Load())
		require.Equal(t, http.StatusAccepted, sender.Send(t.Context(), newRequest(secure.URL)).Status)
		require.EqualValues(t, 2, proxy.used.Load())
	}
}

func TestProxyAsksForAPassword(t *testing.T) {
	t.Parallel()

	target := serve(t, answerWith(http.StatusNoContent), func(server *httptest.Server) { server.EnableHTTP2 = true })
	proxy := newProxy(t, nil)
	guarded := newProxy(t, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
		if user, password, _ := r.BasicAuth(); user != "ada" || password != "hunter2" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		tunnel(t, w, r)
	})
	for userinfo, want := range map[string]int{"": 0, "ada:hunter3@": 0, "ada:hunter2@": http.StatusNoContent} {
		at, err := ParseProxyURL(strings.Replace(guarded.URL, "://", "://"+userinfo, 1))
		require.NoError(t, err)
		sender := newSender(t, trust(target), func(cfg *SenderConfig) { cfg.Proxy = at })
		response := sender.Send(t.Context(), newRequest(target.URL))
		require.Equal(t, want, response.Status)
		if want == 0 {
			require.ErrorIs(t, response.Err, ErrProxy)
			requireKind(t, response, KindInternal, "the outbound proxy failed: it answered 407 Proxy Authentication Required")
			require.NotContains(t, response.Err.Error(), "hunter")
		}
	}
	require.Zero(t, proxy.used.Load())
}

// What the proxy does wrong is told apart from what the partner does.
func TestProxyFailures(t *testing.T) {
	t.Parallel()

	target := serve(t, answerWith(http.StatusNoContent), func(server *httptest.Server) { server.EnableHTTP2 = true })
	plain := serve(t, answerWith(http.StatusNoContent))
	asking := serve(t, answerWith(http.StatusProxyAuthRequired), func(server *httptest.Server) { server.EnableHTTP2 = true })
	closed := "http://" + closedPort(t)
	for _, tt := range []struct {
		name    string
		proxy   string
		target  string
		ofProxy bool
		kind    ErrorKind
		text    string
	}{
		{"nobody listens", closed, target.URL, true, KindInternal, "connection refused"},
		{"nobody listens, http", closed, plain.URL, true, KindInternal, "connection refused"},
		{"no such host", "http://proxy.invalid:3128", target.URL, true, KindInternal, "looking up its name: no such host"},
		{"no TLS", "https" + newProxy(t, nil).URL[len("http"):], target.URL, true, KindInternal, "TLS"},
		{"asks for a password", newProxy(t, answerWith(http.StatusProxyAuthRequired)).URL, target.URL, true, KindInternal, "407"},
		{"asks for a password, http", newProxy(t, answerWith(http.StatusProxyAuthRequired)).URL, plain.URL, true, KindInternal, "407"},
		{"is overloaded", newProxy(t, answerWith(http.StatusTooManyRequests)).URL, target.URL, true, KindInternal, "429"},
		{"is broken", newProxy(t, answerWith(http.StatusInternalServerError)).URL, target.URL, true, KindInternal, "500"},
		{"is a web server", newProxy(t, answerWith(http.StatusMethodNotAllowed)).URL, target.URL, true, KindInternal, "405"},
		{"closes", "http://" + accept(t, func(conn *net.TCPConn) { _, _ = conn.Read(make([]byte, 1)); _ = conn.Close() }), target.URL, true, KindInternal, "it did not answer CONNECT"},
		{"is something else", "http://" + accept(t, func(conn *net.TCPConn) { _, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.9\r\n"); _ = conn.Close() }), target.URL, true, KindInternal, "it did not answer CONNECT"},
		{"reaches a partner that closes", newProxy(t, nil).URL, "https://" + accept(t, func(conn *net.TCPConn) { _ = conn.Close() }), false, KindConnect, ""},
		{"reaches a partner without TLS", newProxy(t, nil).URL, "https" + plain.URL[len("http"):], false, KindTLS, ""},
		{"partner asks for a password of its own", newProxy(t, nil).URL, asking.URL, false, "", ""},
		{"may not call the partner", newProxy(t, answerWith(http.StatusForbidden)).URL, target.URL, false, KindBlocked, "this address may not be called"},
		{"could not reach the partner", newProxy(t, nil).URL, "https://" + closedPort(t), false, KindConnect, "the outbound proxy answered 502"},
		{"waited for the partner", newProxy(t, answerWith(http.StatusGatewayTimeout)).URL, target.URL, false, KindConnect, "the outbound proxy answered 504"},
		{"may not be asked for it", newProxy(t, nil).URL, "https://10.0.0.1/", false, KindBlocked, "this address may not be called"},
		{"may not be asked for that name", newProxy(t, nil).URL, "https://metadata.google.internal/", false, KindBlocked, "this address may not be called"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			at, err := ParseProxyURL(tt.proxy)
			require.NoError(t, err)
			sender := newSender(t, trust(target), func(cfg *SenderConfig) {
				cfg.Proxy = at
				cfg.Guard = NewGuard(&GuardConfig{AllowNetworks: loopback(), Proxied: true})
			})
			response := sender.Send(t.Context(), newRequest(tt.target))
			if tt.kind == "" {
				require.Equal(t, http.StatusProxyAuthRequired, response.Status, "it is the partner's word")
				return
			}
			requireKind(t, response, tt.kind, tt.text)
			require.Equal(t, tt.ofProxy, errors.Is(response.Err, ErrProxy), "%v", response.Err)
			require.NotContains(t, response.Err.Error(), "127.0.0.1", "addresses are nobody's business")
		})
	}
}

// Perhaps it waits for the partner.
func TestProxyThatSaysNothing(t *testing.T) {
	t.Parallel()

	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	at, err := ParseProxyURL("http://" + silent.Addr().String())
	require.NoError(t, err)
	sender := newSender(t, withTimeout(200*time.Millisecond), func(cfg *SenderConfig) { cfg.Proxy = at })
	requireKind(t, sender.Send(t.Context(), newRequest("https://8.8.8.8/")), KindTimeout, "no answer within 200ms")
}

func TestParseProxyURL(t *testing.T) {
	t.Parallel()

	for _, accepted := range []string{"http://proxy:3128", "https://proxy.example", "http://ada:hunter2@10.0.0.1:3128/", "http://[::1]:3128"} {
		_, err := ParseProxyURL(accepted)
		require.NoError(t, err, accepted)
	}
	for _, refused := range []string{"", "proxy:3128", "socks5://proxy:1080", "http://", "http://:3128", "http://proxy:port", "http://proxy:99999", "http://proxy:0", "http://proxy/path", "http://proxy?x", "http://proxy#x", "ftp://leaky:leaky@proxy"} {
		_, err := ParseProxyURL(refused)
		require.ErrorContains(t, err, "it must be http://HOST:PORT", refused)
		require.NotContains(t, err.Error(), "leaky")
	}
}

// What went wrong with the proxy goes to tenants, whom neither its name nor what it says concerns.
func TestProxyFailuresTellNothingOfIt(t *testing.T) {
	t.Parallel()

	secure := serve(t, answerWith(http.StatusOK), func(server *httptest.Server) { server.EnableHTTP2 = true })
	banner := accept(t, func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, "SSH-2.0-bastion.example\r\n")
		_ = conn.Close()
	})
	for _, tt := range []struct {
		name  string
		proxy string
		roots func(*SenderConfig)
		text  string
	}{
		{"no such host", "http://proxy.invalid:3128", func(*SenderConfig) {}, "the outbound proxy failed: looking up its name: no such host"},
		{"unknown authority", secure.URL, func(*SenderConfig) {}, "the outbound proxy failed: its certificate is of an unknown authority"},
		{"another name", strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), trust(secure), "the outbound proxy failed: its certificate is not for its name"},
		{"something else", "http://" + banner, func(*SenderConfig) {}, "the outbound proxy failed: it did not answer CONNECT in HTTP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			at, err := ParseProxyURL(tt.proxy)
			require.NoError(t, err)
			sender := newSender(t, tt.roots, func(cfg *SenderConfig) { cfg.Proxy = at })
			response := sender.Send(t.Context(), newRequest("https://8.8.8.8/"))
			require.ErrorIs(t, response.Err, ErrProxy)
			require.Equal(t, tt.text, response.Err.Error())
		})
	}
}
