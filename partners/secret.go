package partners

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"
)

const (
	generatedKeyBytes = 32
	minSecretBytes    = 8
	maxSecretBytes    = 128

	// weakSecretBytes is where Standard Webhooks begins to call a key long enough.
	weakSecretBytes = 24
)

// Secret is text that must not show: however it is printed it is [redacted], and [Secret.Reveal] gives the
// text. It is a header's value, or a signing secret: "whsec_" and base64, "whsk_" and the base64 of an ed25519
// private key, or any other text, whose bytes are the key then.
type Secret string

// GenerateSecret makes a secret of 32 random bytes, for [SchemeV1].
func GenerateSecret() Secret {
	key := make([]byte, generatedKeyBytes)
	_, _ = rand.Read(key) // never fails
	return Secret(secretPrefix + base64.StdEncoding.EncodeToString(key))
}

// Validate refuses signing secrets whose key is shorter than 8 bytes or longer than 128, and private keys that
// are none.
func (s Secret) Validate() error {
	if s.Scheme() == SchemeV1a {
		_, err := s.privateKey()
		return err
	}
	key, err := s.key()
	switch {
	case strings.HasPrefix(string(s), publicKeyPrefix):
		return invalid("secret", "", `that begins with "whpk_" is a public key, which can't sign: give the private key, "whsk_"`)
	case err != nil:
		return invalid("secret", "", `that begins with "whsec_" must go on in base64`)
	case len(key) < minSecretBytes || len(key) > maxSecretBytes:
		return invalid("secret", "", "must have %d to %d bytes, and has %d", minSecretBytes, maxSecretBytes, len(key))
	case !utf8.ValidString(string(s)):
		return invalid("secret", "", "must be valid UTF-8")
	}
	return nil
}

// Weak says whether the key is shorter than the 24 bytes that Standard Webhooks asks for.
func (s Secret) Weak() bool {
	if s.Scheme() == SchemeV1a {
		return false
	}
	key, err := s.key()
	return err == nil && len(key) < weakSecretBytes
}

// Reveal is the secret in the clear.
func (s Secret) Reveal() string { return string(s) }

const redacted = "[redacted]"

func (s Secret) String() string { return redacted }

// GoString is for what writes Go syntax without package fmt.
func (s Secret) GoString() string { return redacted }

// Format is for every verb of fmt: of those that are wrong for a string, such as %d, fmt would print the value.
func (s Secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// LogValue is for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is for JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// key is the HMAC key of a secret of [SchemeV1].
func (s Secret) key() ([]byte, error) {
	encoded, ok := strings.CutPrefix(string(s), secretPrefix)
	if !ok {
		return []byte(s), nil
	}
	return base64.StdEncoding.DecodeString(encoded)
}
