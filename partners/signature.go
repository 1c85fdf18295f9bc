package partners

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Sign makes the webhook-signature header of Standard Webhooks: for each secret a signature of
// "id.timestamp.body", with spaces between. That is "v1," and the base64 of an HMAC-SHA256, or for a private
// key "v1a," and the base64 of an ed25519 signature. A partner accepts the request if any of them fits, which
// is what lets it change secrets without missing one. Without a secret there is an error: nothing leaves
// unsigned.
func Sign(secrets []Secret, id string, timestamp time.Time, body []byte) (string, error) {
	if len(secrets) == 0 {
		return "", errors.New("there is no secret to sign with")
	}
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		sign := secret.signV1
		if secret.Scheme() == SchemeV1a {
			sign = secret.signV1a
		}
		var err error
		if signatures[i], err = sign(id, timestamp, body); err != nil {
			return "", err
		}
	}
	return strings.Join(signatures, " "), nil
}

func (s Secret) signV1(id string, timestamp time.Time, body []byte) (string, error) {
	key, err := s.key()
	if err != nil {
		return "", fmt.Errorf("decoding a signing secret: %w", err)
	}
	signer, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return "", fmt.Errorf("preparing a signature: %w", err)
	}
	signature, err := signer.Sign(id, timestamp, body)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return signature, nil
}

// signV1a is not in the library.
func (s Secret) signV1a(id string, timestamp time.Time, body []byte) (string, error) {
	key, err := s.privateKey()
	if err != nil {
		return "", fmt.Errorf("decoding a signing secret: %w", err)
	}
	signature := ed25519.Sign(key, fmt.Appendf(nil, "%s.%d.%s", id, timestamp.Unix(), body))
	return "v1a," + base64.StdEncoding.EncodeToString(signature), nil
}
