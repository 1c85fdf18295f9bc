package partners

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
)

const (
	secretPrefix     = "whsec_"
	privateKeyPrefix = "whsk_"
	publicKeyPrefix  = "whpk_"
)

// Scheme is a signature scheme of Standard Webhooks, by the identifier that its signatures begin with. A
// secret's form says which is its.
type Scheme string

// The schemes.
const (
	SchemeV1  Scheme = "v1"  // HMAC-SHA256: a partner verifies with the secret itself
	SchemeV1a Scheme = "v1a" // ed25519: a partner verifies with the public key, and can't sign
)

// UnmarshalText accepts the schemes.
func (s *Scheme) UnmarshalText(text []byte) error {
	switch scheme := Scheme(text); scheme {
	case SchemeV1, SchemeV1a:
		*s = scheme
		return nil
	default:
		return fmt.Errorf("%q must be %s (HMAC-SHA256) or %s (ed25519)", text, SchemeV1, SchemeV1a)
	}
}

// GenerateSecret makes a secret of the scheme.
func (s Scheme) GenerateSecret() Secret {
	if s == SchemeV1a {
		_, private, _ := ed25519.GenerateKey(rand.Reader) // never fails
		return Secret(privateKeyPrefix + base64.StdEncoding.EncodeToString(private))
	}
	return GenerateSecret()
}

// Scheme is what the secret signs with.
func (s Secret) Scheme() Scheme {
	if strings.HasPrefix(string(s), privateKeyPrefix) {
		return SchemeV1a
	}
	return SchemeV1
}

// PublicKey is what partners verify with if the secret is a private key: "whpk_" and base64. It is no
// secret; empty for any other.
func (s Secret) PublicKey() string {
	if s.Scheme() != SchemeV1a {
		return ""
	}
	private, err := s.privateKey()
	if err != nil {
		return ""
	}
	return publicKeyPrefix + base64.StdEncoding.EncodeToString(private[ed25519.SeedSize:])
}

// privateKey is the ed25519 key: a seed of 32 bytes and the public key that follows from it. With another
// public key signatures would give the seed away.
func (s Secret) privateKey() (ed25519.PrivateKey, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(s), privateKeyPrefix))
	switch {
	case err != nil:
		return nil, invalid("secret", "", `that begins with "whsk_" must go on in base64`)
	case len(key) != ed25519.PrivateKeySize:
		return nil, invalid("secret", "", `that begins with "whsk_" must have %d bytes, a seed and its public key, and has %d`, ed25519.PrivateKeySize, len(key))
	}
	private := ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])
	if !private.Equal(ed25519.PrivateKey(key)) {
		return nil, invalid("secret", "", `that begins with "whsk_" must end with the public key of its seed`)
	}
	return private, nil
}

// ParsePublicKey reads what [Secret.PublicKey] gives. Its error does not show the text, which may be a private key.
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	encoded, ok := strings.CutPrefix(text, publicKeyPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) != ed25519.PublicKeySize {
		return nil, invalid("public_key", "", `must be "whpk_" and the base64 of %d bytes`, ed25519.PublicKeySize)
	}
	return key, nil
}
