package partners

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// verifier is what a partner has that was given the secret.
func verifier(t *testing.T, secret Secret) *standardwebhooks.Webhook {
	t.Helper()

	var (
		webhook *standardwebhooks.Webhook
		err     error
	)
	if strings.HasPrefix(secret.Reveal(), "whsec_") {
		webhook, err = standardwebhooks.NewWebhook(secret.Reveal())
	} else {
		webhook, err = standardwebhooks.NewWebhookRaw([]byte(secret.Reveal()))
	}
	require.NoError(t, err)
	return webhook
}

func signedHeader(id, signature string, timestamp time.Time) http.Header {
	header := http.Header{}
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", strconv.FormatInt(timestamp.Unix(), 10))
	header.Set("webhook-signature", signature)
	return header
}

// The example of the Standard Webhooks specification's own tests.
func TestSignKnownAnswer(t *testing.T) {
	t.Parallel()

	signature, err := Sign([]Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", signature)
}

func TestSign(t *testing.T) {
	t.Parallel()

	const id = "5f0c6f0e-8b0a-4a55-9d0f-000000000001"
	now, body := time.Now(), []byte(`{"a":1}`)
	current, previous, raw := GenerateSecret(), GenerateSecret(), Secret("a raw secret")

	signature, err := Sign([]Secret{current, previous, raw}, id, now, body)
	require.NoError(t, err)
	require.Len(t, strings.Split(signature, " "), 3)
	header := signedHeader(id, signature, now)
	for _, secret := range []Secret{current, previous, raw} {
		require.NoError(t, verifier(t, secret).Verify(body, header))
	}
	require.Error(t, verifier(t, GenerateSecret()).Verify(body, header))
	require.Error(t, verifier(t, current).Verify([]byte(`{"a":2}`), header), "another body")
	require.Error(t, verifier(t, current).Verify(body, signedHeader("another", signature, now)))
	require.Error(t, verifier(t, current).Verify(body, signedHeader(id, signature, now.Add(2*time.Second))))

	alone, err := Sign([]Secret{current}, id, now, body)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(signature, alone+" "), "the current secret's signature comes first")
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()

	for _, secrets := range [][]Secret{nil, {}} {
		signature, err := Sign(secrets, "id", time.Now(), nil)
		require.ErrorContains(t, err, "no secret to sign with")
		require.Empty(t, signature)
	}
	signature, err := Sign([]Secret{GenerateSecret(), "whsec_leaky!"}, "id", time.Now(), nil)
	require.ErrorContains(t, err, "decoding a signing secret")
	require.NotContains(t, err.Error(), "leaky")
	require.Empty(t, signature)
}

// Whatever Validate accepts signs, and the official library verifies it.
func FuzzSign(f *testing.F) {
	f.Add("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_1", []byte(`{"test": 1}`))
	f.Add("a raw secret", "5f0c6f0e", []byte("\x00\xff"))
	f.Add("whsec_MTIzNDU2Nzg=\n", "x", []byte{})
	f.Add("whsec", " ", []byte("."))
	f.Fuzz(func(t *testing.T, text, id string, body []byte) {
		secret := Secret(text)
		if id == "" {
			return
		}
		now := time.Now()
		signature, err := Sign([]Secret{secret}, id, now, body)
		if secret.Validate() != nil {
			return
		}
		require.NoError(t, err)
		header := signedHeader(id, signature, now)
		require.NoError(t, verifier(t, secret).Verify(body, header))
		require.Error(t, verifier(t, "another raw secret").Verify(body, header))
	})
}
