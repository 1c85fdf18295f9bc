//go:build examples

// Package verify_test runs each example against requests that the product really signed.
package verify_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testport"
	"github.com/epicvoice/webhook-worker/partners"
)

const (
	id   = "5f0c1d5e-3a55-4b0e-9d1c-1f6a6f2d7c11"
	body = `{"zebra":1,"name":"Zoë","big":12345678901234567890}`
)

// example is a receiver, and how it is started; $PORT is the port.
type example struct {
	scheme  partners.Scheme
	command []string
}

// examples are all of them. Debian's Ruby has WEBrick, and others may come first on PATH; RUBY names another.
func examples(t *testing.T) map[string]example {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "receiver")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./go").CombinedOutput()
	require.NoError(t, err, string(output))
	return map[string]example{
		"go":            {partners.SchemeV1, []string{binary}},
		"node":          {partners.SchemeV1, []string{"node", "node/receiver.mjs"}},
		"python":        {partners.SchemeV1, []string{"python3", "python/receiver.py"}},
		"ruby":          {partners.SchemeV1, []string{cmp.Or(os.Getenv("RUBY"), "/usr/bin/ruby"), "ruby/receiver.rb"}},
		"php":           {partners.SchemeV1, []string{"php", "-S", "127.0.0.1:$PORT", "php/receiver.php"}},
		"java":          {partners.SchemeV1, []string{"java", "java/Receiver.java"}},
		"node, ed25519": {partners.SchemeV1a, []string{"node", "node/ed25519.mjs"}},
	}
}

func TestExamplesVerify(t *testing.T) {
	t.Parallel()
	for name, receiver := range examples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := receiver.scheme.GenerateSecret()
			url := start(t, receiver.command, secret)
			other, onTheWay := receiver.scheme.GenerateSecret(), tampering(t, url)

			require.Equal(t, http.StatusNoContent, send(t, url, time.Now(), secret))
			require.Equal(t, http.StatusNoContent, send(t, url, time.Now(), other, secret), "the second of two signatures fits")
			require.Equal(t, http.StatusNoContent, send(t, url, time.Now(), secret, other), "the first of two signatures fits")
			require.Equal(t, http.StatusNoContent, send(t, url, time.Now(), partners.SchemeV1a.GenerateSecret(), partners.GenerateSecret(), secret), "one of two kinds")
			require.Equal(t, http.StatusUnauthorized, send(t, url, time.Now(), other), "another's secret")
			require.Equal(t, http.StatusUnauthorized, send(t, onTheWay, time.Now(), secret), "a body that was changed on its way")
			require.Equal(t, http.StatusUnauthorized, send(t, url, time.Now().Add(-time.Hour), secret), "an old request")
			require.Equal(t, http.StatusUnauthorized, send(t, url, time.Now().Add(time.Hour), secret), "a request from the future")

			bare, err := http.Post(url, "application/json", bytes.NewBufferString(body))
			require.NoError(t, err)
			require.NoError(t, bare.Body.Close())
			require.Equal(t, http.StatusUnauthorized, bare.StatusCode, "a request without signature")
		})
	}
}

func TestExamplesRefuseAnEmptySecret(t *testing.T) {
	t.Parallel()
	for name, receiver := range examples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "php" { // which runs its script anew for each request
				url := start(t, receiver.command, "")
				require.Equal(t, http.StatusInternalServerError, forge(t, url))
				return
			}
			command := exec.CommandContext(t.Context(), receiver.command[0], receiver.command[1:]...)
			command.Env = append(os.Environ(), "WEBHOOK_SECRET=", "WEBHOOK_PUBLIC_KEY=", "ADDR=127.0.0.1:0", "PORT=0")
			require.Error(t, command.Run())
		})
	}
}

// send makes one request with the product's sender, and returns what it was answered.
func send(t *testing.T, url string, timestamp time.Time, secrets ...partners.Secret) int {
	t.Helper()
	sender := partners.NewSender(&partners.SenderConfig{
		Guard:     partners.NewGuard(&partners.GuardConfig{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}),
		Timeout:   30 * time.Second,
		UserAgent: "webhook-worker/test",
	})
	defer sender.Close()
	response := sender.Send(t.Context(), &partners.Request{
		URL: url, ID: id, EventType: "call.completed", Timestamp: timestamp, Body: []byte(body), Secrets: secrets,
	})
	require.NoError(t, response.Err)
	return response.Status
}

// tampering starts a server that hands on each request to url with another body.
func tampering(t *testing.T, url string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		original, _ := io.ReadAll(r.Body)
		changed := bytes.Replace(original, []byte(`"zebra":1`), []byte(`"zebra":2`), 1)
		request, err := http.NewRequestWithContext(r.Context(), r.Method, url, bytes.NewReader(changed))
		if err != nil || bytes.Equal(original, changed) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		request.Header = r.Header.Clone()
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = response.Body.Close() }()
		w.WriteHeader(response.StatusCode)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// forge makes a request that is signed with nothing, as anybody could.
func forge(t *testing.T, url string) int {
	t.Helper()
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, nil)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewBufferString(body))
	require.NoError(t, err)
	request.Header.Set("webhook-id", id)
	request.Header.Set("webhook-timestamp", timestamp)
	request.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

// start starts a receiver on a free port and waits until it answers.
func start(t *testing.T, command []string, secret partners.Secret) string {
	t.Helper()
	port := strconv.Itoa(testport.Free(t))
	addr := net.JoinHostPort("127.0.0.1", port)
	arguments := make([]string, len(command))
	for i, argument := range command {
		arguments[i] = os.Expand(argument, func(string) string { return port })
	}
	receiver := exec.CommandContext(context.WithoutCancel(t.Context()), arguments[0], arguments[1:]...)
	receiver.Env = append(os.Environ(),
		"WEBHOOK_SECRET="+secret.Reveal(), "WEBHOOK_PUBLIC_KEY="+secret.PublicKey(), "ADDR="+addr, "PORT="+port)
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
	}, 60*time.Second, 20*time.Millisecond)
	return "http://" + addr + "/"
}
