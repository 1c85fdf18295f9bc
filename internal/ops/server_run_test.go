package ops

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()

	server := listen(t)
	stop, ended := run(t, server)
	got := do(t, http.MethodGet, server.at("/healthz"))
	require.Equal(t, http.StatusOK, got.status)
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
		got, _ := send(t.Context(), http.MethodGet, server.at("/"))
		answered <- got.body
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
