package partners

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// whsec is a secret whose key has the given number of bytes.
func whsec(keyBytes int) Secret {
	return Secret("whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, keyBytes)))
}

// otherHalf is a private key with the public key of another seed.
func otherHalf(private Secret) Secret {
	key, _ := private.privateKey()
	return Secret("whsk_" + base64.StdEncoding.EncodeToString(append(key[:32:32], bytes.Repeat([]byte{7}, 32)...)))
}

func TestSecretValidate(t *testing.T) {
	t.Parallel()

	for _, accepted := range []Secret{
		"12345678", "hunter2 with spaces", "grüße-aus-köln", Secret(strings.Repeat("x", 128)), "WHSEC_not-base64!", "a\x00b\nc\td=e",
		whsec(8), whsec(9), whsec(10), whsec(24), whsec(128), knownPrivate, SchemeV1a.GenerateSecret(), "WHSK_not-base64!",
	} {
		require.NoError(t, accepted.Validate(), accepted.Reveal())
	}
	for refused, reason := range map[Secret]string{
		"":                                 "must have 8 to 128 bytes, and has 0",
		"1234567":                          "must have 8 to 128 bytes, and has 7",
		Secret(strings.Repeat("x", 129)):   "and has 129",
		Secret(strings.Repeat("ü", 65)):    "and has 130",
		whsec(0):                           "and has 0",
		whsec(7):                           "and has 7",
		whsec(129):                         "and has 129",
		"whsec_":                           "and has 0",
		"whsec_not-base64-not-base64":      "must go on in base64",
		"whsec_MTIzNDU2Nzg":                "must go on in base64", // no padding
		"whsec_____////____////":           "must go on in base64", // both alphabets
		"whsk_":                            "must have 64 bytes, a seed and its public key, and has 0",
		"whsk_not-base64-not-base64":       `that begins with "whsk_" must go on in base64`,
		knownPrivate[:len("whsk_")+44]:     "must have 64 bytes, a seed and its public key, and has 33",
		otherHalf(knownPrivate):            "must end with the public key of its seed",
		Secret(knownPublic):                "is a public key, which can't sign",
		"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8": "must be valid UTF-8",
	} {
		err := refused.Validate()
		requireRefused(t, err, "secret", reason)
		if len(refused) > len("whsec_") {
			require.NotContains(t, err.Error(), refused.Reveal())
		}
	}
}

func TestSecretWeak(t *testing.T) {
	t.Parallel()

	require.True(t, Secret("12345678").Weak())
	require.True(t, Secret(strings.Repeat("x", 23)).Weak())
	require.False(t, Secret(strings.Repeat("x", 24)).Weak())
	require.True(t, whsec(23).Weak())
	require.False(t, whsec(24).Weak())
	require.False(t, GenerateSecret().Weak())
	require.False(t, Secret("whsec_!").Weak(), "it is no secret")
	require.False(t, knownPrivate.Weak())
}

func TestGenerateSecret(t *testing.T) {
	t.Parallel()

	seen := map[Secret]bool{}
	for range 100 {
		secret := GenerateSecret()
		require.NoError(t, secret.Validate())
		key, err := secret.key()
		require.NoError(t, err)
		require.Len(t, key, 32)
		requireVerified(t, secret, "an-id", time.Now(), []byte(`{}`))
		require.True(t, strings.HasPrefix(secret.Reveal(), "whsec_"))
		seen[secret] = true
	}
	require.Len(t, seen, 100)
}

func TestSchemes(t *testing.T) {
	t.Parallel()

	seen := map[Secret]bool{}
	for range 100 {
		private := SchemeV1a.GenerateSecret()
		require.NoError(t, private.Validate())
		require.Equal(t, SchemeV1a, private.Scheme())
		require.Regexp(t, `^whsk_[A-Za-z0-9+/]{86}==$`, private.Reveal())
		require.Regexp(t, `^whpk_[A-Za-z0-9+/]{43}=$`, private.PublicKey())
		key, err := ParsePublicKey(private.PublicKey())
		require.NoError(t, err)
		require.Len(t, key, 32)
		seen[private] = true
	}
	require.Len(t, seen, 100)
	require.Equal(t, SchemeV1, SchemeV1.GenerateSecret().Scheme())
	for _, other := range []Secret{GenerateSecret(), "a raw secret", "whsk_leaky!", ""} {
		require.Empty(t, other.PublicKey())
	}

	var scheme Scheme
	require.NoError(t, scheme.UnmarshalText([]byte("v1a")))
	require.Equal(t, SchemeV1a, scheme)
	for _, refused := range []string{"", "v2", "V1a", "ed25519"} {
		require.ErrorContains(t, scheme.UnmarshalText([]byte(refused)), "must be v1 (HMAC-SHA256) or v1a (ed25519)")
	}
	for _, refused := range []string{"", "whpk_", "whpk_!", knownPublic + "A", knownPublic[5:], knownPrivate.Reveal(), "whpk_" + knownPrivate.Reveal()[5:]} {
		_, err := ParsePublicKey(refused)
		requireRefused(t, err, "public_key", "32 bytes")
	}
}

func TestSecretDoesNotShow(t *testing.T) {
	t.Parallel()

	const text = "leaky-secret-text"
	secret := Secret(text)
	require.Equal(t, text, secret.Reveal())

	holder := struct {
		Secret  Secret
		Pointer *Secret
		List    []Secret
		Map     map[string]Secret
		Any     any
		Valid   ValidSecret
	}{secret, &secret, []Secret{secret}, map[string]Secret{"a": secret}, secret, ValidSecret{Secret: secret}}

	for _, verb := range []string{"%v", "%+v", "%s", "%q", "%#v", "%x", "%X", "%d", "%t", "%5.3v", "%-30s", "%U", "%c", "%T"} {
		for _, value := range []any{
			secret, &secret, []Secret{secret}, holder, &holder, Request{Secrets: []Secret{secret}}, acme(func(p *Params) { p.Secret = secret }),
		} {
			requireHidden(t, text, fmt.Sprintf(verb, value))
		}
	}
	requireHidden(t, text, fmt.Sprint(secret)+fmt.Sprintln(secret))
	requireHidden(t, text, secret.String()+secret.GoString())
	require.Equal(t, "[redacted]", secret.String())

	document, err := json.Marshal([]any{holder.Secret, holder.Pointer, holder.List, holder.Map, holder.Any, acme(func(p *Params) { p.Secret = secret }).Secret})
	require.NoError(t, err)
	requireHidden(t, text, string(document))
	require.Contains(t, string(document), `"[redacted]"`)

	var logged bytes.Buffer
	for _, logger := range []*slog.Logger{slog.New(slog.NewTextHandler(&logged, nil)), slog.New(slog.NewJSONHandler(&logged, nil))} {
		logger.InfoContext(t.Context(), "leak", slog.Any("secret", secret), slog.Any("pointer", &secret), slog.Any("holder", holder),
			slog.Any("list", holder.List), slog.Any("err", fmt.Errorf("with %v: %w", secret, errors.New("reason"))))
	}
	requireHidden(t, text, logged.String())
	require.Contains(t, logged.String(), "[redacted]")
}

// requireHidden checks that shown has the secret in none of the forms that fmt and encoders give bytes.
func requireHidden(t *testing.T, text, shown string) {
	t.Helper()

	for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), base64.StdEncoding.EncodeToString([]byte(text)), fmt.Sprintf("%d", []byte(text))} {
		require.NotContains(t, shown, form)
	}
}

func TestErrorsDoNotShowSecrets(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	const text = "whsec_leaky!leaky!leaky!"
	_, _, err := bundle.store.Create(t.Context(), "anna", acme(func(p *Params) { p.Secret = text }))
	requireRefused(t, err, "secret", "base64")
	require.NotContains(t, err.Error(), "leaky")

	bundle.add(t, "anna", acme())
	_, err = bundle.store.RotateSecret(t.Context(), "anna", "acme-corp", text, 0)
	requireRefused(t, err, "secret", "base64")
	require.NotContains(t, err.Error(), "leaky")
}
