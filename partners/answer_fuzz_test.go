package partners

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Whatever bytes a partner answers with, there is one verdict on them, and it tells nothing of the network.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"", "HTTP", "\x00\xff\n", "HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.0 000 \r\n\r\n", "HTTP/1.1 +12 x\r\n\r\n", "HTTP/1.1 999\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 503 x\r\nRetry-After: 120\r\nContent-Length: 99\r\n\r\nshort",
		"HTTP/1.1 301 x\r\nLocation: http://127.0.0.1/\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 200 OK\r\n: x\r\n\r\n", "HTTP/1.1 200 OK\r\nX-Request-Id: \x00\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	url, answer := answering(f)
	sender := NewSender(&SenderConfig{Guard: NewGuard(&GuardConfig{AllowNetworks: loopback()}), Timeout: 5 * time.Second})
	f.Cleanup(sender.Close)
	f.Fuzz(func(t *testing.T, bytes []byte) {
		answer.Store(&bytes)
		response := sender.Send(t.Context(), &Request{URL: url, ID: "an-id", EventType: "call.completed", Body: []byte(`{}`), Secrets: []Secret{"a raw secret"}})

		require.NotEqual(t, response.Status == 0, response.Err == nil, "either a status or an error: %+v", response)
		require.GreaterOrEqual(t, response.RetryAfter, time.Duration(0))
		requireStorable(t, response.Body, keptBody)
		for _, value := range response.Headers {
			requireStorable(t, value, keptHeader)
		}
		if response.Err == nil {
			require.True(t, response.Status >= 100 && response.Status <= 999, "%d is three digits in the database and to people", response.Status)
			require.Empty(t, response.Kind)
			return
		}
		require.True(t, slices.Contains([]ErrorKind{KindConnect, KindProtocol}, response.Kind), "%s: %v", response.Kind, response.Err)
		require.NotContains(t, response.Err.Error(), strings.TrimPrefix(url, "http://"))
	})
}

// answering starts a server that answers each request with the bytes that the pointer leads to, and hangs up.
func answering(f *testing.F) (url string, answer *atomic.Pointer[[]byte]) {
	f.Helper()

	listener, err := new(net.ListenConfig).Listen(f.Context(), "tcp", "127.0.0.1:0")
	require.NoError(f, err)
	answer = new(atomic.Pointer[[]byte])
	ended := make(chan struct{})
	f.Cleanup(func() {
		require.NoError(f, listener.Close())
		<-ended
	})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			reader := bufio.NewReader(conn)
			if request, err := http.ReadRequest(reader); err == nil {
				_, _ = io.Copy(io.Discard, request.Body)
				_, _ = conn.Write(*answer.Load())
			}
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, reader)
			_ = conn.Close()
		}
	}()
	return "http://" + listener.Addr().String(), answer
}
