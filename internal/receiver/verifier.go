package receiver

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/epicvoice/webhook-worker/partners"
)

// verifier says what is wrong with a request's signature. The official library's Webhook is one.
type verifier interface {
	Verify(payload []byte, header http.Header) error
}

// newVerifier makes a verifier of a secret, or of a public key.
func newVerifier(secret string) (verifier, error) {
	if strings.HasPrefix(secret, "whpk_") {
		key, err := partners.ParsePublicKey(secret)
		if err != nil {
			return nil, err
		}
		return publicKey(key), nil
	}
	if err := partners.Secret(secret).Validate(); err != nil {
		return nil, err
	}
	switch {
	case partners.Secret(secret).Scheme() == partners.SchemeV1a:
		return nil, errors.New("secret is a private key, which a receiver must not have: give its public key, whpk_")
	case strings.HasPrefix(secret, "whsec_"):
		return standardwebhooks.NewWebhook(secret)
	}
	return standardwebhooks.NewWebhookRaw([]byte(secret))
}

// tolerance is how far a request's time may be from now, as in the official library.
const tolerance = 5 * time.Minute

// publicKey verifies v1a signatures, which the official library does not.
type publicKey ed25519.PublicKey

// Verify returns the official library's errors.
func (k publicKey) Verify(payload []byte, header http.Header) error {
	id, signatures := header.Get(standardwebhooks.HeaderWebhookID), header.Get(standardwebhooks.HeaderWebhookSignature)
	timestamp := header.Get(standardwebhooks.HeaderWebhookTimestamp)
	if id == "" || signatures == "" || timestamp == "" {
		return standardwebhooks.ErrRequiredHeaders
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return standardwebhooks.ErrInvalidHeaders
	}
	switch age := time.Since(time.Unix(seconds, 0)); {
	case age > tolerance:
		return standardwebhooks.ErrMessageTooOld
	case age < -tolerance:
		return standardwebhooks.ErrMessageTooNew
	}
	signed := fmt.Appendf(nil, "%s.%d.%s", id, seconds, payload)
	for versioned := range strings.SplitSeq(signatures, " ") {
		version, encoded, _ := strings.Cut(versioned, ",")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if version == string(partners.SchemeV1a) && err == nil && ed25519.Verify(ed25519.PublicKey(k), signed, signature) {
			return nil
		}
	}
	return standardwebhooks.ErrNoMatchingSignature
}
