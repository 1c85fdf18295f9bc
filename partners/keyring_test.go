package partners

import (
	"bytes"
	"encoding/base64"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestNewKeyringRefusesOtherLengths(t *testing.T) {
	t.Parallel()

	for _, size := range []int{0, 16, 24, 31, 33, 64} {
		_, err := NewKeyring(make([]byte, size))
		require.ErrorContains(t, err, "has 32 bytes")
	}
}

func TestKeyringSealsAndOpens(t *testing.T) {
	t.Parallel()

	keyring, id := testKeyring(t, 1), uuid.New()
	end := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	for _, secrets := range [][]ValidSecret{
		{},
		{{Secret: "a raw secret with ü, 😀, <&>, \u2028, \x00 and \"quotes\""}},
		{{Secret: GenerateSecret()}, {Secret: GenerateSecret(), ExpiresAt: &end}},
	} {
		box, err := keyring.seal(id, secrets)
		require.NoError(t, err)
		opened, err := keyring.open(id, box)
		require.NoError(t, err)
		require.Equal(t, secrets, opened)
		for _, secret := range secrets {
			require.NotContains(t, string(box.ciphertext), secret.Secret.Reveal())
		}

		again, err := keyring.seal(id, secrets)
		require.NoError(t, err)
		require.NotEqual(t, box.ciphertext, again.ciphertext, "each sealing has its own nonce")
	}
}

func TestKeyID(t *testing.T) {
	t.Parallel()

	// It is in databases, so it must never change: the first 8 bytes of sha256(key).
	require.Equal(t, "72cd6e8422c407fb", testKeyring(t, 1).id)
	require.NotEqual(t, testKeyring(t, 1).id, testKeyring(t, 2).id)

	box, err := testKeyring(t, 1).seal(uuid.New(), nil)
	require.NoError(t, err)
	require.Equal(t, "72cd6e8422c407fb", box.keyID)
}

func TestKeyringRefuses(t *testing.T) {
	t.Parallel()

	keyring, id := testKeyring(t, 1), uuid.New()
	secret := GenerateSecret()
	box, err := keyring.seal(id, []ValidSecret{{Secret: secret}})
	require.NoError(t, err)
	requireWrong := func(t *testing.T, keyring *Keyring, id uuid.UUID, ciphertext []byte) {
		t.Helper()

		opened, err := keyring.open(id, sealed{keyID: box.keyID, ciphertext: ciphertext})
		require.ErrorIs(t, err, ErrWrongKey)
		require.ErrorContains(t, err, box.keyID)
		require.Nil(t, opened)
		require.NotContains(t, err.Error(), secret.Reveal())
	}

	t.Run("another partner", func(t *testing.T) {
		t.Parallel()
		requireWrong(t, keyring, uuid.New(), box.ciphertext)
		requireWrong(t, keyring, uuid.Nil, box.ciphertext)
	})
	t.Run("another key", func(t *testing.T) {
		t.Parallel()
		requireWrong(t, testKeyring(t, 2), id, box.ciphertext)
	})
	t.Run("any flipped bit", func(t *testing.T) {
		t.Parallel()
		for bit := range len(box.ciphertext) * 8 {
			changed := bytes.Clone(box.ciphertext)
			changed[bit/8] ^= 1 << (bit % 8)
			requireWrong(t, keyring, id, changed)
		}
	})
	t.Run("any other length", func(t *testing.T) {
		t.Parallel()
		for length := range box.ciphertext {
			requireWrong(t, keyring, id, box.ciphertext[:length])
		}
		requireWrong(t, keyring, id, append(bytes.Clone(box.ciphertext), 0))
		requireWrong(t, keyring, id, nil)
	})
}

// What the database holds is worth nothing without the key.
func TestDatabaseHoldsNoSecret(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	raw := Secret("a raw secret that must not show")
	bundle.add(t, "anna", acme(func(p *Params) { p.Secret = raw }))
	generated, err := bundle.store.RotateSecret(t.Context(), "anna", "acme-corp", "", time.Hour)
	require.NoError(t, err)

	var row string
	var ciphertext []byte
	require.NoError(t, bundle.pool.QueryRow(t.Context(),
		`select row_to_json(p)::text, secret_ciphertext from partner_webhooks p`).Scan(&row, &ciphertext))
	key, err := generated.key()
	require.NoError(t, err)
	for _, secret := range [][]byte{[]byte(raw), []byte(generated), key} {
		require.False(t, bytes.Contains(ciphertext, secret))
		requireHidden(t, string(secret), row)
		requireHidden(t, base64.StdEncoding.EncodeToString(secret), row)
	}
}
