//go:build examples

// Package verify_test runs each example against requests that the product really signed.
package verify_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/partners"
)

func TestExamplesVerify(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "receiver")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./go").CombinedOutput()
	require.NoError(t, err, string(output))

	for name, receiver := range map[string]struct {
		scheme  partners.Scheme
		command []string
	}{
		"go":            {partners.SchemeV1, []string{binary}},
		"node":          {partners.SchemeV1, []string{"node", "node/receiver.mjs"}},
		"python":        {partners.SchemeV1, []string{"python3", "python/receiver.py"}},
		"node, ed25519": {partners.SchemeV1a, []string{"node", "node/ed25519.mjs"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := receiver.scheme.GenerateSecret()
			url := start(t, receiver.command, secret)
			sender := partners.NewSender(&partners.SenderConfig{
				Guard:     partners.NewGuard(&partners.GuardConfig{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}),
				Timeout:   10 * time.Second,
				UserAgent: "webhook-worker/test",
			})
			defer sender.Close()
			send := func(timestamp time.Time, secrets ...partners.Secret) int {
				response := sender.Send(t.Context(), &partners.Request{
					URL: url, ID: "5f0c1d5e-3a55-4b0e-9d1c-1f6a6f2d7c11", EventType: "call.completed", Timestamp: timestamp,
					Body: []byte(`{"zebra":1,"name":"Zoë","big":12345678901234567890}`), Secrets: secrets,
				})
				require.NoError(t, response.Err)
				return response.Status
			}
			require.Equal(t, http.StatusNoContent, send(time.Now(), secret))
			require.Equal(t, http.StatusNoContent, send(time.Now(), partners.SchemeV1a.GenerateSecret(), partners.GenerateSecret(), secret), "one of three signatures fits")
			require.Equal(t, http.StatusUnauthorized, send(time.Now(), receiver.scheme.GenerateSecret()), "another's secret")
			require.Equal(t, http.StatusUnauthorized, send(time.Now().Add(-time.Hour), secret), "an old request")
		})
	}
}

func TestExamplesRefuseAnEmptySecret(t *testing.T) {
	t.Parallel()
	for name, command := range map[string][]string{
		"go":            {"go", "run", "./go"},
		"node":          {"node", "node/receiver.mjs"},
		"python":        {"python3", "python/receiver.py"},
		"node, ed25519": {"node", "node/ed25519.mjs"},
	} {
		receiver := exec.CommandContext(t.Context(), command[0], command[1:]...)
		receiver.Env = append(os.Environ(), "WEBHOOK_SECRET=", "WEBHOOK_PUBLIC_KEY=", "ADDR=127.0.0.1:0", "PORT=0")
		require.Error(t, receiver.Run(), name)
	}
}

// start starts a receiver on a free port and waits until it answers.
func start(t *testing.T, command []string, secret partners.Secret) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())

	receiver := exec.CommandContext(context.WithoutCancel(t.Context()), command[0], command[1:]...)
	receiver.Env = append(os.Environ(),
		"WEBHOOK_SECRET="+secret.Reveal(), "WEBHOOK_PUBLIC_KEY="+secret.PublicKey(), "ADDR="+addr, "PORT="+strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
	var output bytes.Buffer
	receiver.Stdout, receiver.Stderr = &output, &output
	require.NoError(t, receiver.Start())
	t.Cleanup(func() {
		_ = receiver.Process.Kill()
		_ = receiver.Wait()
		t.Log(output.String())
	})
	require.Eventually(t, func() bool {
		connection, err := net.Dial("tcp", addr)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	}, 30*time.Second, 20*time.Millisecond)
	return "http://" + addr + "/"
}
