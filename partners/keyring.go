package partners

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// KeySize is the length of an encryption key in bytes (AES-256).
const KeySize = 32

// keyIDBytes of a key's SHA-256 tell keys apart without giving anything away.
const keyIDBytes = 8

// Keyring seals and opens partners' secrets with AES-256-GCM.
type Keyring struct {
	id   string
	aead cipher.AEAD
}

// NewKeyring makes a Keyring of a key of [KeySize] random bytes.
func NewKeyring(key []byte) (*Keyring, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("an encryption key has %d bytes, not %d", KeySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("preparing AES: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("preparing GCM: %w", err)
	}
	sum := sha256.Sum256(key)
	return &Keyring{id: hex.EncodeToString(sum[:keyIDBytes]), aead: aead}, nil
}

// ID tells the key from others, as partner_webhooks.secret_key_id does, and gives nothing away.
func (k *Keyring) ID() string { return k.id }

// sealed is a partner's secrets as the database holds them.
type sealed struct {
	keyID      string
	ciphertext []byte
}

// ValidSecret is a secret that signs, for ever or until a rotation's overlap ends.
type ValidSecret struct {
	Secret    Secret
	ExpiresAt *time.Time // nil: it does not end
}

// storedSecret is a ValidSecret in the sealed document, the one place where a secret is written out.
type storedSecret struct {
	Secret    string     `json:"secret"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// seal binds the secrets to the partner's id, so that a row's ciphertext is worth nothing in another row.
func (k *Keyring) seal(partnerID uuid.UUID, secrets []ValidSecret) (sealed, error) {
	document := make([]storedSecret, len(secrets))
	for i, secret := range secrets {
		document[i] = storedSecret{Secret: secret.Secret.Reveal(), ExpiresAt: secret.ExpiresAt}
	}
	plaintext, err := json.Marshal(document) //nolint:gosec // this is what gets sealed
	if err != nil {
		return sealed{}, fmt.Errorf("encoding secrets: %w", err)
	}
	return sealed{keyID: k.id, ciphertext: k.aead.Seal(nil, nil, plaintext, additionalData(partnerID))}, nil //nolint:gosec // the AEAD draws its own nonces
}

// open reverses seal. Its error is [ErrWrongKey] whatever the reason: another key, another partner's
// ciphertext, or a changed one.
func (k *Keyring) open(partnerID uuid.UUID, box sealed) ([]ValidSecret, error) {
	plaintext, err := k.aead.Open(nil, nil, box.ciphertext, additionalData(partnerID))
	if err != nil {
		return nil, fmt.Errorf("opening secrets sealed with key %s: %w", box.keyID, ErrWrongKey)
	}
	var document []storedSecret
	if err := json.Unmarshal(plaintext, &document); err != nil {
		return nil, fmt.Errorf("decoding secrets: %w", err)
	}
	secrets := make([]ValidSecret, len(document))
	for i, stored := range document {
		secrets[i] = ValidSecret{Secret: Secret(stored.Secret), ExpiresAt: stored.ExpiresAt}
	}
	return secrets, nil
}

func additionalData(partnerID uuid.UUID) []byte {
	return append([]byte("partner secrets v1:"), partnerID[:]...)
}
