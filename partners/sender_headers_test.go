package partners

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSendHeaders(t *testing.T) {
	t.Parallel()

	for proto, change := range map[string]func(*httptest.Server){
		"HTTP/1.1": func(*httptest.Server) {},
		"HTTP/2.0": func(server *httptest.Server) { server.EnableHTTP2 = true },
	} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()

			var got *http.Request
			server := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r }, change)
			sender := newSender(t)
			if server.TLS != nil {
				sender = newSender(t, trust(server))
			}
			request := newRequest(server.URL)
			request.Headers = Headers{
				Plain:  map[string]string{"x-env": printableASCII},
				Secret: map[string]Secret{"Authorization": "Bearer token", "Cookie": "a=b; c=d"},
			}
			response := sender.Send(t.Context(), request)
			require.NoError(t, response.Err)
			require.Equal(t, proto, got.Proto)
			require.Equal(t, []string{printableASCII}, got.Header["X-Env"])
			require.Equal(t, []string{"Bearer token"}, got.Header["Authorization"])
			require.Equal(t, []string{"a=b; c=d"}, got.Header["Cookie"])

			require.Equal(t, []string{"application/json"}, got.Header["Content-Type"])
			require.Equal(t, []string{"webhook-worker/test"}, got.Header["User-Agent"])
			require.Equal(t, []string{request.ID}, got.Header["Webhook-Id"])
			require.NoError(t, verifier(t, request.Secrets[0]).Verify(request.Body, got.Header))
		})
	}
}

// What got past every other check ends here: nothing is sent.
func TestSendRefusesHeaders(t *testing.T) {
	t.Parallel()

	server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was made") })
	for _, headers := range []Headers{
		plain("webhook-signature", "v1,x"), plain("Host", "another.example"), plain("Content-Length", "1"),
		plain("X-Key", "leaky\r\nHost: another.example"), plain("X-Key\r\nHost", "another.example"),
		{Secret: map[string]Secret{"X-Key": "leaky\n"}},
		{Secret: map[string]Secret{"X-Key": ""}},
	} {
		request := newRequest(server.URL)
		request.Headers = headers
		response := newSender(t).Send(t.Context(), request)
		require.Equal(t, KindInternal, response.Kind)
		requireRefused(t, response.Err, "request_headers", "must")
		require.NotContains(t, response.Err.Error(), "leaky")
	}
}

// A receiver that answers with what it got does not carry secrets into the log.
func TestSendHidesSecretHeadersInAnswers(t *testing.T) {
	t.Parallel()

	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", r.Header.Get("X-Api-Key"))
		_, _ = io.WriteString(w, r.Header.Get("X-Env")+" "+r.Header.Get("Authorization")+" "+r.Header.Get("X-Api-Key"))
	})
	request := newRequest(server.URL)
	request.Headers = Headers{
		Plain:  map[string]string{"X-Env": "prod"},
		Secret: map[string]Secret{"Authorization": "Bearer leaky", "X-Api-Key": "leaky"},
	}
	response := newSender(t).Send(t.Context(), request)
	require.NoError(t, response.Err)
	require.Equal(t, "prod [redacted] [redacted]", response.Body)
	require.Equal(t, "[redacted]", response.Headers["x-request-id"])
}

// What is not HTTP is quoted in the error, whole or its words.
func TestSendHidesSecretHeadersInErrors(t *testing.T) {
	t.Parallel()

	const value = `first "part"/of+it second_part`
	for name, answer := range map[string]string{
		"a header without a colon": "HTTP/1.1 200 OK\r\n" + value + "\r\n\r\n",
		"a body's length":          "HTTP/1.1 200 OK\r\nContent-Length: " + value + "\r\n\r\n",
		"a transfer encoding":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + value + "\r\n\r\n",
		"a reason":                 "HTTP/1.1 099 " + value + "\r\n\r\n",
		"a status":                 "HTTP/1.1 second_part\r\n\r\n",
		"a version":                "second_part 200 OK\r\n\r\n",
		"a line":                   "second_part\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			address := accept(t, func(conn *net.TCPConn) {
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, answer)
				_ = conn.Close()
			})
			request := newRequest("http://" + address)
			request.Headers = Headers{Secret: map[string]Secret{"X-Api-Key": value}}
			response := newSender(t).Send(t.Context(), request)
			requireKind(t, response, KindProtocol, redacted)
			require.NotContains(t, response.Err.Error(), "part")
		})
	}
}
