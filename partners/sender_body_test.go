package partners

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSendMakesBodiesSafe(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct {
		body []byte
		want string
	}{
		"invalid UTF-8 and NUL": {[]byte("a\x00b\xffc"), "a\uFFFDb\uFFFDc"},
		"as long as is kept":    {bytes.Repeat([]byte("x"), keptBody), strings.Repeat("x", keptBody)},
		"longer":                {bytes.Repeat([]byte("x"), keptBody+1), strings.Repeat("x", keptBody)},
		"cut in a character":    {bytes.Repeat([]byte("€"), keptBody), strings.Repeat("€", keptBody/3)},
		"empty":                 {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = w.Write(tt.body)
			})
			response := newSender(t).Send(t.Context(), newRequest(server.URL))
			require.NoError(t, response.Err)
			require.Equal(t, http.StatusInternalServerError, response.Status)
			require.Equal(t, tt.want, response.Body)
		})
	}
}

func TestSendReadsLittleOfALongAnswer(t *testing.T) {
	t.Parallel()

	const size = 64 << 20 // more than buffers between the two hold
	written := make(chan int, 1)
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk, total := bytes.Repeat([]byte("x"), 64<<10), 0
		for total < size {
			n, err := w.Write(chunk)
			total += n
			if err != nil {
				break
			}
		}
		written <- total
	})
	response := newSender(t).Send(t.Context(), newRequest(server.URL))
	require.NoError(t, response.Err)
	require.Equal(t, http.StatusOK, response.Status)
	require.Equal(t, strings.Repeat("x", keptBody), response.Body)
	require.Less(t, <-written, size)
}

func TestSendEndsADrippingAnswerAtTheDeadline(t *testing.T) {
	t.Parallel()

	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			select {
			case <-ticker.C:
			case <-r.Context().Done():
			}
		}
	})
	const timeout = 300 * time.Millisecond
	response := newSender(t, withTimeout(timeout)).Send(t.Context(), newRequest(server.URL))
	require.NoError(t, response.Err)
	require.Equal(t, http.StatusServiceUnavailable, response.Status)
	require.Regexp(t, "^x+$", response.Body)
	require.GreaterOrEqual(t, response.Duration, timeout)
	require.Less(t, response.Duration, patience)
}

func TestSendKeepsAnAnswerWhoseBodyBreaksOff(t *testing.T) {
	t.Parallel()

	url := listen(t, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 1000\r\n\r\nhalf", false)
	response := newSender(t).Send(t.Context(), newRequest(url))
	require.NoError(t, response.Err)
	require.Equal(t, http.StatusBadGateway, response.Status)
	require.Equal(t, "half", response.Body)
}

func TestSendDoesNotUnpack(t *testing.T) {
	t.Parallel()

	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = io.WriteString(writer, strings.Repeat("a bomb ", 1000))
	require.NoError(t, writer.Close())
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("X-Request-Id", "asked for "+r.Header.Get("Accept-Encoding"))
		_, _ = w.Write(packed.Bytes())
	})
	response := newSender(t).Send(t.Context(), newRequest(server.URL))
	require.NoError(t, response.Err)
	require.Equal(t, "asked for", response.Headers["x-request-id"])
	require.NotContains(t, response.Body, "a bomb")
	require.LessOrEqual(t, len(response.Body), 3*packed.Len())
}

// After a 101 the transport hands the connection over, and no deadline would end the reading from it.
func TestSendIsNotHeldByASwitchOfProtocols(t *testing.T) {
	t.Parallel()

	url := listen(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n", true)
	sender := newSender(t, withTimeout(time.Second))
	answered := make(chan *Response, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { answered <- sender.Send(ctx, newRequest(url)) }()
	select {
	case response := <-answered:
		require.NoError(t, response.Err)
		require.Equal(t, http.StatusSwitchingProtocols, response.Status)
		require.Empty(t, response.Body)
	case <-ctx.Done():
		require.Fail(t, "still reading")
	}
}
