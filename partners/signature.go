package partners

import (
	"errors"
	"fmt"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Sign makes the webhook-signature header of Standard Webhooks v1: for each secret "v1," and the base64
// of the HMAC-SHA256 of "id.timestamp.body", with spaces between. A partner accepts the request if any of
// them fits, which is what lets it change secrets without missing one. Without a secret there is an error:
// nothing leaves unsigned.
func Sign(secrets []Secret, id string, timestamp time.Time, body []byte) (string, error) {
	if len(secrets) == 0 {
		return "", errors.New("there is no secret to sign with")
	}
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		key, err := secret.key()
		if err != nil {
			return "", fmt.Errorf("decoding a signing secret: %w", err)
		}
		signer, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return "", fmt.Errorf("preparing a signature: %w", err)
		}
		if signatures[i], err = signer.Sign(id, timestamp, body); err != nil {
			return "", fmt.Errorf("signing: %w", err)
		}
	}
	return strings.Join(signatures, " "), nil
}
