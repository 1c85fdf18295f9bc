package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// received is a request as it came.
type received struct {
	header http.Header
	body   []byte
}

// newCatcher is a partner's server that hands on what it receives.
func newCatcher(t *testing.T) (string, <-chan received) {
	t.Helper()
	requests := make(chan received, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- received{r.Header.Clone(), body}
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

// next is what a partner receives for one event.
func (c *terminal) next(t *testing.T, requests <-chan received) received {
	t.Helper()
	c.ok(t, "send", "--user", "u", "--event", "call.completed", "--data", `{"zebra":1,"name":"Zoë"}`)
	select {
	case got := <-requests:
		return got
	case <-time.After(waitFor):
		t.Fatal("no request came")
		return received{}
	}
}

// verifies says whether a secret, or a public key, verifies a request.
func (r *received) verifies(t *testing.T, key string) bool {
	t.Helper()
	encoded, isPublic := strings.CutPrefix(key, "whpk_")
	if !isPublic {
		webhook, err := standardwebhooks.NewWebhook(key)
		require.NoError(t, err)
		return webhook.Verify(r.body, r.header) == nil
	}
	public, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	signed := r.header.Get("webhook-id") + "." + r.header.Get("webhook-timestamp") + "." + string(r.body)
	for signature := range strings.FieldsSeq(r.header.Get("webhook-signature")) {
		if encoded, ok := strings.CutPrefix(signature, "v1a,"); ok {
			decoded, err := base64.StdEncoding.DecodeString(encoded)
			require.NoError(t, err)
			if ed25519.Verify(public, []byte(signed), decoded) {
				return true
			}
		}
	}
	return false
}

func TestThreeSecretsSignOneRequest(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	url, requests := newCatcher(t)
	secrets := []string{terminal.addPartner(t, "u", "acme", url)["secret"].(string)}
	for range 2 {
		var rotated map[string]string
		terminal.json(t, &rotated, "partner", "rotate-secret", "--user", "u", "acme")
		secrets = append(secrets, rotated["secret"])
	}
	require.Len(t, map[string]bool{secrets[0]: true, secrets[1]: true, secrets[2]: true}, 3)
	terminal.start(t, "work")

	got := terminal.next(t, requests)
	require.Len(t, strings.Fields(got.header.Get("webhook-signature")), 3)
	for _, secret := range secrets {
		require.True(t, got.verifies(t, secret))
	}
	require.False(t, got.verifies(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))

	terminal.ok(t, "partner", "rotate-secret", "--user", "u", "acme", "--expire-now")
	got = terminal.next(t, requests)
	require.Len(t, strings.Fields(got.header.Get("webhook-signature")), 1)
	for _, secret := range secrets {
		require.False(t, got.verifies(t, secret))
	}
}

func TestPartnerWithPublicKeys(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	url, requests := newCatcher(t)
	added := terminal.addPartner(t, "u", "acme", url, "--signature", "v1a")
	require.Regexp(t, `^whsk_[A-Za-z0-9+/]{86}==$`, added["secret"])
	require.Regexp(t, `^whpk_[A-Za-z0-9+/]{43}=$`, added["public_key"])
	rotate := func(flags ...string) (rotated map[string]string) {
		terminal.json(t, &rotated, append([]string{"partner", "rotate-secret", "--user", "u", "acme"}, flags...)...)
		return rotated
	}
	second := rotate()
	require.Contains(t, second["secret"], "whsk_", "a rotation keeps the kind")
	shared := rotate("--signature", "v1")
	require.Contains(t, shared["secret"], "whsec_")
	require.NotContains(t, shared, "public_key")

	var shown struct {
		PublicKeys []struct {
			PublicKey string     `json:"public_key"`
			ExpiresAt *time.Time `json:"expires_at"`
		} `json:"public_keys"`
		Secrets []any `json:"secrets"`
	}
	terminal.json(t, &shown, "partner", "show", "--user", "u", "acme")
	require.Empty(t, shown.Secrets)
	require.Len(t, shown.PublicKeys, 2)
	require.Equal(t, second["public_key"], shown.PublicKeys[0].PublicKey)
	require.Equal(t, added["public_key"], shown.PublicKeys[1].PublicKey)
	require.WithinDuration(t, time.Now().Add(24*time.Hour), *shown.PublicKeys[0].ExpiresAt, time.Hour)
	human := terminal.ok(t, "partner", "show", "--user", "u", "acme").stdout
	require.Contains(t, human, second["public_key"]+"  until ")
	require.NotContains(t, human, "whsk_")

	terminal.start(t, "work")
	got := terminal.next(t, requests)
	require.Len(t, strings.Fields(got.header.Get("webhook-signature")), 3)
	require.True(t, strings.HasPrefix(got.header.Get("webhook-signature"), "v1,"), "the current secret's signature comes first")
	for _, key := range []string{shared["secret"], second["public_key"], added["public_key"].(string)} {
		require.True(t, got.verifies(t, key), key)
	}

	// Whoever has no encryption key that fits still sees the rest.
	other := terminal.with("WEBHOOK_ENCRYPTION_KEY="+newKey()).ok(t, "partner", "show", "--user", "u", "acme")
	require.Contains(t, other.stdout, url)
	require.Contains(t, other.stderr, "public keys are not shown")
}

func TestReceiveVerifiesWithAPublicKey(t *testing.T) {
	t.Parallel()
	terminal, _ := newTerminal(t)
	added := terminal.addPartner(t, "u", "acme", "http://127.0.0.1:1/", "--signature", "v1a")
	terminal.stdin = added["public_key"].(string) + "\n"
	receiver := terminal.start(t, "receive", "--addr", "127.0.0.1:0", "--secret", "-", "--json")
	url := regexp.MustCompile(`http://\S+`)
	require.Eventually(t, func() bool { return url.MatchString(receiver.stderr.String()) }, waitFor, look)
	terminal.ok(t, "partner", "update", "--user", "u", "acme", "--url", url.FindString(receiver.stderr.String()))
	terminal.start(t, "work")
	terminal.ok(t, "partner", "test", "--user", "u", "acme")
	require.Contains(t, receiver.stdout.String(), `"signature":"verified"`)

	terminal.ok(t, "partner", "rotate-secret", "--user", "u", "acme", "--expire-now")
	refused := terminal.run(t, "partner", "test", "--user", "u", "acme")
	require.Contains(t, refused.stderr, "the partner answered 401")
	require.Zero(t, receiver.stop())
}
