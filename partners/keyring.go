package partners

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
)

// KeySize is the length of an encryption key in bytes (AES-256).
const KeySize = 32

// keyIDBytes of a key's SHA-256 tell keys apart without giving anything away.
const keyIDBytes = 8

// Keyring seals partners' secrets with one key, the current one, and opens what that key or an older one
// sealed, with AES-256-GCM.
type Keyring struct {
	current string                 // id of the key that seals
	aeads   map[string]cipher.AEAD // by key id
}

// NewKeyring makes a Keyring of the current key and of older ones, each of [KeySize] random bytes. A key that
// is given twice counts once.
func NewKeyring(current []byte, old ...[]byte) (*Keyring, error) {
	keyring := &Keyring{current: keyID(current), aeads: map[string]cipher.AEAD{}}
	for _, key := range append([][]byte{current}, old...) {
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
		keyring.aeads[keyID(key)] = aead
	}
	return keyring, nil
}

// keyID tells a key from others, and gives nothing away.
func keyID(key []byte) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:keyIDBytes])
}

// CurrentID is the id of the key that seals, as partner_webhooks.secret_key_id has it.
func (k *Keyring) CurrentID() string { return k.current }

// IDs are the ids of all keys, sorted.
func (k *Keyring) IDs() []string { return slices.Sorted(maps.Keys(k.aeads)) }

func (k *Keyring) has(id string) bool { return k.aeads[id] != nil }

// sealed is a partner's secrets as the database holds them.
type sealed struct {
	keyID      string
	ciphertext []byte
}

// seal binds the document to the partner's id, so that a row's ciphertext is worth nothing in another row.
func (k *Keyring) seal(partnerID uuid.UUID, secrets *document) (sealed, error) {
	plaintext, err := secrets.encode()
	if err != nil {
		return sealed{}, err
	}
	return k.encrypt(partnerID, plaintext), nil
}

// open reverses seal. Its errors are those of decrypt, and [ErrNewer].
func (k *Keyring) open(partnerID uuid.UUID, box sealed) (*document, error) {
	plaintext, err := k.decrypt(partnerID, box)
	if err != nil {
		return nil, err
	}
	return decodeDocument(plaintext)
}

// reseal gives what an older key sealed to the current one. Its errors are those of decrypt.
func (k *Keyring) reseal(partnerID uuid.UUID, box sealed) (sealed, error) {
	plaintext, err := k.decrypt(partnerID, box)
	if err != nil {
		return sealed{}, err
	}
	return k.encrypt(partnerID, plaintext), nil
}

func (k *Keyring) encrypt(partnerID uuid.UUID, plaintext []byte) sealed {
	ciphertext := k.aeads[k.current].Seal(nil, nil, plaintext, additionalData(partnerID)) //nolint:gosec // the AEAD draws its own nonces
	return sealed{keyID: k.current, ciphertext: ciphertext}
}

// decrypt opens with the key that the box names. Its error is [ErrWrongKey] if the keyring has no such key, and
// [ErrDamaged] if the key does not fit: the ciphertext was changed, or is another partner's.
func (k *Keyring) decrypt(partnerID uuid.UUID, box sealed) ([]byte, error) {
	aead, known := k.aeads[box.keyID]
	if !known {
		return nil, fmt.Errorf("opening secrets sealed with key %s: %w", box.keyID, ErrWrongKey)
	}
	plaintext, err := aead.Open(nil, nil, box.ciphertext, additionalData(partnerID))
	if err != nil {
		return nil, fmt.Errorf("opening secrets sealed with key %s: %w", box.keyID, ErrDamaged)
	}
	return plaintext, nil
}

func additionalData(partnerID uuid.UUID) []byte {
	return append([]byte("partner secrets v1:"), partnerID[:]...)
}
