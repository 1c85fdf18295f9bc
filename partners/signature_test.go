package partners

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// webhookVerifier is what the official library has.
type webhookVerifier interface {
	Verify(payload []byte, headers http.Header) error
	VerifyIgnoringTimestamp(payload []byte, headers http.Header) error
}

// publicKeyVerifier verifies v1a, which the library does not.
type publicKeyVerifier string

func (k publicKeyVerifier) Verify(payload []byte, headers http.Header) error {
	return k.VerifyIgnoringTimestamp(payload, headers)
}

func (k publicKeyVerifier) VerifyIgnoringTimestamp(payload []byte, headers http.Header) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(k), "whpk_"))
	if err != nil {
		return err
	}
	signed := headers.Get("webhook-id") + "." + headers.Get("webhook-timestamp") + "." + string(payload)
	for signature := range strings.FieldsSeq(headers.Get("webhook-signature")) {
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signature, "v1a,"))
		if err == nil && ed25519.Verify(key, []byte(signed), decoded) {
			return nil
		}
	}
	return standardwebhooks.ErrNoMatchingSignature
}

// verifier is what a partner has that was given the secret, or its public key.
func verifier(t *testing.T, secret Secret) webhookVerifier {
	t.Helper()

	if key := secret.PublicKey(); key != "" {
		return publicKeyVerifier(key)
	}

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

// The key of RFC 8032, section 7.1, test 1; the signature was made with Node's crypto and with Python's
// cryptography.
const (
	knownPrivate   = Secret("whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==")
	knownPublic    = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	knownSignature = "v1a,fldxM4gAKugP6nnt1hdz3sgGfZ6d99nzrMFnZOELIxbzEHoVmAb2ADpkJK7zgPePmPsle0zV9jSeGlHFG2NVAw=="
)

func TestSignV1aKnownAnswer(t *testing.T) {
	t.Parallel()

	signature, err := Sign([]Secret{knownPrivate}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	require.NoError(t, err)
	require.Equal(t, knownSignature, signature)
	require.Equal(t, knownPublic, knownPrivate.PublicKey())
}

// While a partner changes from one scheme to the other its requests have signatures of both.
func TestSignWithBothSchemes(t *testing.T) {
	t.Parallel()

	const id = "5f0c6f0e-8b0a-4a55-9d0f-000000000001"
	now, body := time.Now(), []byte("\x00\xff{}")
	secret, private := GenerateSecret(), SchemeV1a.GenerateSecret()
	signature, err := Sign([]Secret{private, secret}, id, now, body)
	require.NoError(t, err)
	require.NoError(t, verifier(t, secret).Verify(body, signedHeader(id, signature, now)), "the library passes over what it does not know")

	require.Regexp(t, `^v1a,[A-Za-z0-9+/]{86}== v1,[A-Za-z0-9+/]{43}=$`, signature)
	require.NoError(t, verifier(t, private).Verify(body, signedHeader(id, signature, now)))
	require.Error(t, verifier(t, private).Verify(append(body, ' '), signedHeader(id, signature, now)))
	require.Error(t, verifier(t, SchemeV1a.GenerateSecret()).Verify(body, signedHeader(id, signature, now)))
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
	signature, err = Sign([]Secret{"whsk_leaky!"}, "id", time.Now(), nil)
	require.ErrorContains(t, err, "decoding a signing secret")
	require.NotContains(t, err.Error(), "leaky")
	require.Empty(t, signature)
}
