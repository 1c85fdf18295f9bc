package partners

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// addSecrets seeds a target whose first argument is a secret with one of each format, and with near misses.
func addSecrets(f *testing.F, others ...any) {
	f.Helper()

	for _, secret := range []string{
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MTIzNDU2Nzg=\n", "whsec_MTIzNDU2Nzg", "whsec", "whsec_",
		knownPrivate.Reveal(), otherHalf(knownPrivate).Reveal(), knownPrivate.Reveal()[:40], "whsk_!", knownPublic,
		"a raw secret", "12345678", "%!d(string=x) \x00\n", "grüße-aus-köln", "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8", `"[redacted]"`,
	} {
		f.Add(append([]any{secret}, others...)...)
	}
}

// refusals are all that is said of a secret that is refused: nothing in them is the secret's.
var refusals = regexp.MustCompile(`^secret (that begins with "(whsec|whsk)_" must go on in base64|that begins with "whsk_" must (have 64 bytes, a seed and its public key, and has \d+|end with the public key of its seed)|that begins with "whpk_" is a public key, .*|must have 8 to 128 bytes, and has \d+|must be valid UTF-8)$`)

// What is accepted as a secret signs and comes back from its seal as it was; none ever shows.
func FuzzSecret(f *testing.F) {
	addSecrets(f)
	another := shown("another")
	f.Fuzz(func(t *testing.T, text string) {
		secret := Secret(text)
		require.Equal(t, another, shown(secret), "what is printed does not depend on the secret")
		if err := secret.Validate(); err != nil {
			require.Regexp(t, refusals, err.Error())
			return
		}
		requireVerified(t, secret, "an-id", time.Now(), []byte(`{}`))

		keyring, id := testKeyring(t, 1), uuid.New()
		box, err := keyring.seal(id, &document{secrets: []ValidSecret{{Secret: secret}}})
		require.NoError(t, err)
		require.NotContains(t, string(box.ciphertext), text)
		opened, err := keyring.open(id, box)
		require.NoError(t, err)
		require.Equal(t, text, opened.secrets[0].Secret.Reveal())
		_, err = keyring.open(uuid.New(), box)
		require.ErrorIs(t, err, ErrDamaged)
	})
}

// shown is a secret in every way that prints.
func shown(secret Secret) string {
	values := []any{
		secret, &secret,
		[]Secret{secret},
		map[string]any{"key": secret},
		ValidSecret{Secret: secret},
		Request{Secrets: []Secret{secret}, Headers: Headers{Secret: map[string]Secret{"X-Key": secret}}},
		&Params{Secret: secret}, fmt.Errorf("about %v and %q", secret, secret),
	}
	var out bytes.Buffer
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% 02x", "%d", "%t", "%c", "%U", "%e", "%-40.3s|", "%T"} {
			_, _ = fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	_, _ = fmt.Fprintln(&out, values[0], secret.String(), secret.GoString())

	without := &slog.HandlerOptions{ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
		if len(groups) == 0 && attr.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return attr
	}}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, without), slog.NewJSONHandler(&out, without)} {
		logger := slog.New(handler).With(slog.Any("with", secret))
		for _, value := range values {
			logger.Info("shown", slog.Any("value", value), slog.Any("list", []any{secret}))
		}
	}
	document, err := json.Marshal(values[:7])
	return fmt.Sprintln(out.String(), string(document), err)
}

// requireVerified checks that a partner that has the secret, and the official library, verifies what it signs.
func requireVerified(t *testing.T, secret Secret, id string, at time.Time, body []byte) (header http.Header) {
	t.Helper()

	signature, err := Sign([]Secret{secret}, id, at, body)
	require.NoError(t, err)
	header = signedHeader(id, signature, at)
	require.NoError(t, verifier(t, secret).VerifyIgnoringTimestamp(body, header))
	return header
}
