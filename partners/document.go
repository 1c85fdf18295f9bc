package partners

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// document is what a partner's ciphertext holds: whatever of it must not be readable in the database.
type document struct {
	secrets []ValidSecret // the current one first
	headers map[string]Secret
}

// ValidSecret is a secret that signs, for ever or until a rotation's overlap ends.
type ValidSecret struct {
	Secret    Secret
	ExpiresAt *time.Time // nil: it does not end
}

// storedDocument is a document in the clear, the one place where secrets are written out.
type storedDocument struct {
	Secrets []storedSecret    `json:"secrets"`
	Headers map[string]string `json:"headers,omitempty"`
}

type storedSecret struct {
	Secret    string     `json:"secret"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// scheme is that of the current secret.
func (d *document) scheme() Scheme {
	if len(d.secrets) == 0 {
		return SchemeV1
	}
	return d.secrets[0].Secret.Scheme()
}

// validAt are the secrets that have not ended at now.
func (d *document) validAt(now time.Time) []ValidSecret {
	return slices.DeleteFunc(d.secrets, func(secret ValidSecret) bool {
		return secret.ExpiresAt != nil && !secret.ExpiresAt.After(now)
	})
}

// encode writes the array of secrets alone where there is nothing else, so that workers from before partners had headers
// can read it too, while they are updated or when the update is taken back.
func (d *document) encode() ([]byte, error) {
	stored := storedDocument{Secrets: make([]storedSecret, len(d.secrets)), Headers: make(map[string]string, len(d.headers))}
	for i, secret := range d.secrets {
		stored.Secrets[i] = storedSecret{Secret: secret.Secret.Reveal(), ExpiresAt: secret.ExpiresAt}
	}
	for name, value := range d.headers {
		stored.Headers[name] = value.Reveal()
	}
	var from any = stored
	if len(stored.Headers) == 0 {
		from = stored.Secrets
	}
	plaintext, err := json.Marshal(from)
	if err != nil {
		return nil, fmt.Errorf("encoding secrets: %w", err)
	}
	return plaintext, nil
}

// decodeDocument reads what encode writes. Its error is [ErrNewer]: the key has shown that this program wrote it.
func decodeDocument(plaintext []byte) (*document, error) {
	var stored storedDocument
	var into any = &stored
	if bytes.HasPrefix(plaintext, []byte("[")) {
		into = &stored.Secrets
	}
	decoder := json.NewDecoder(bytes.NewReader(plaintext))
	decoder.DisallowUnknownFields()  // what is not known would be lost when it is sealed again
	if decoder.Decode(into) != nil { // its error would say what is in there
		return nil, ErrNewer
	}
	decoded := &document{secrets: make([]ValidSecret, len(stored.Secrets)), headers: make(map[string]Secret, len(stored.Headers))}
	for i, secret := range stored.Secrets {
		decoded.secrets[i] = ValidSecret{Secret: Secret(secret.Secret), ExpiresAt: secret.ExpiresAt}
	}
	for name, value := range stored.Headers {
		decoded.headers[name] = Secret(value)
	}
	return decoded, nil
}
