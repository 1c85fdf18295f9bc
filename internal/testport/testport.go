// Package testport finds ports for servers that tests start, and start again.
package testport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Free finds a port of 127.0.0.1 that no program gets by chance: one outside the range that the system gives out, so that it is
// still there after a time in which nobody listened, and that no connection comes from it.
func Free(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(10000) //nolint:gosec // nobody has to be kept from guessing it
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			require.NoError(t, listener.Close())
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
