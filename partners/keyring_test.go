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
		_, err = NewKeyring(make([]byte, KeySize), make([]byte, size))
		require.ErrorContains(t, err, "has 32 bytes")
	}
}

func TestKeyringSealsAndOpens(t *testing.T) {
	t.Parallel()

	keyring, id := testKeyring(t, 1), uuid.New()
	end := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	for _, sealing := range []*document{
		{secrets: []ValidSecret{}, headers: map[string]Secret{}},
		{secrets: []ValidSecret{{Secret: "a raw secret with ü, 😀, <&>, \u2028, \x00 and \"quotes\""}}, headers: map[string]Secret{}},
		{
			secrets: []ValidSecret{{Secret: GenerateSecret()}, {Secret: GenerateSecret(), ExpiresAt: &end}},
			headers: map[string]Secret{"Authorization": `Bearer "<&>\`, "X-Api-Key": "a key to a gateway"},
		},
	} {
		box, err := keyring.seal(id, sealing)
		require.NoError(t, err)
		opened, err := keyring.open(id, box)
		require.NoError(t, err)
		require.Equal(t, sealing, opened)
		for _, secret := range sealing.secrets {
			require.NotContains(t, string(box.ciphertext), secret.Secret.Reveal())
		}

		again, err := keyring.seal(id, sealing)
		require.NoError(t, err)
		require.NotEqual(t, box.ciphertext, again.ciphertext, "each sealing has its own nonce")
	}
}

// Rows keep the form that they were written in until they are written again.
func TestKeyringOpensWhatWasSealedBeforeHeaders(t *testing.T) {
	t.Parallel()

	ciphertext, err := base64.StdEncoding.DecodeString("uBUTdxM9gfmCg+72JGZVti97/t2O32uf1lsO0R6HXZTx68tZT1eH4FEDKUG6WegojIk2X0qZ" +
		"FronuyJ3D10FKX+eU5NaSLieI+hVLkpPvv6lhReAPQks+tcpH21TohffcKuIf+8iBljycDVtlLcOyIuY43KhipJSqkXggf/WBuDcAP4jmMqv326DkSwVzQHVXUOQoX3djsFm")
	require.NoError(t, err)
	keyring, id := testKeyring(t, 1), uuid.MustParse("5f0c6f0e-8b0a-4a55-9d0f-000000000001")
	end := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	want := &document{
		secrets: []ValidSecret{{Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, {Secret: "a raw secret", ExpiresAt: &end}},
		headers: map[string]Secret{},
	}
	opened, err := keyring.open(id, sealed{keyID: keyring.CurrentID(), ciphertext: ciphertext})
	require.NoError(t, err)
	require.Equal(t, want, opened)

	// A rotation and a change of headers begin with such a row, and write the new form.
	bundle := setup(t)
	partner, _ := bundle.add(t, "anna", acme())
	_, err = bundle.pool.Exec(t.Context(), `update partner_webhooks set id = $1, secret_ciphertext = $2 where id = $3`, id, ciphertext, partner.ID)
	require.NoError(t, err)
	_, err = bundle.store.Update(t.Context(), "anna", "acme-corp", &Changes{Headers: Headers{Secret: map[string]Secret{"X-Api-Key": "key"}}})
	require.NoError(t, err)
	rotated := bundle.rotate(t, "", time.Hour)
	requireSigns(t, bundle, bundle.get(t), rotated, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	requireHeaders(t, bundle, bundle.get(t), Headers{Secret: map[string]Secret{"X-Api-Key": "key"}})
}

// Workers of the release before partners had headers go on while the others are updated, and come back when that is taken
// back: what has nothing new in it keeps the form that they read.
func TestKeyringSealsAsBeforeHeadersWithoutAny(t *testing.T) {
	t.Parallel()

	keyring, id := testKeyring(t, 1), uuid.New()
	for want, sealing := range map[string]*document{
		`[{"secret":"a raw secret"}]`: {secrets: []ValidSecret{{Secret: "a raw secret"}}, headers: map[string]Secret{}},
		`{"secrets":[{"secret":"a raw secret"}],"headers":{"X-Api-Key":"key"}}`: {
			secrets: []ValidSecret{{Secret: "a raw secret"}}, headers: map[string]Secret{"X-Api-Key": "key"},
		},
	} {
		box, err := keyring.seal(id, sealing)
		require.NoError(t, err)
		plaintext, err := keyring.decrypt(id, box)
		require.NoError(t, err)
		require.Equal(t, want, string(plaintext))
	}
}

// What a later version sealed is neither damaged nor of another key, and is not taken for less than it is.
func TestKeyringLeavesNewerFormsAlone(t *testing.T) {
	t.Parallel()

	keyring, id := testKeyring(t, 1), uuid.New()
	for _, plaintext := range []string{
		`{"secrets":[{"secret":"a raw secret"}],"certificate":"new"}`, `[{"secret":"a raw secret","begins_at":"2027-01-01T00:00:00Z"}]`, `"v3"`, `[17]`, ``,
	} {
		_, err := keyring.open(id, keyring.encrypt(id, []byte(plaintext)))
		require.ErrorIs(t, err, ErrNewer, plaintext)
		require.NotContains(t, err.Error(), "certificate")
	}
	bundle := setup(t)
	partner, _ := bundle.add(t, "anna", acme())
	box := testKeyring(t, 1).encrypt(partner.ID, []byte(`{"later":1}`))
	_, err := bundle.pool.Exec(t.Context(), `update partner_webhooks set secret_key_id = $1, secret_ciphertext = $2`, box.keyID, box.ciphertext)
	require.NoError(t, err)
	require.NoError(t, bundle.store.CheckKey(t.Context()), "the key is the right one")
	_, err = bundle.store.RotateSecret(t.Context(), "anna", "acme-corp", "", time.Hour)
	require.ErrorIs(t, err, ErrNewer, "what is not understood is not written anew")
}

func TestKeyID(t *testing.T) {
	t.Parallel()

	// It is in databases, so it must never change: the first 8 bytes of sha256(key).
	require.Equal(t, "72cd6e8422c407fb", testKeyring(t, 1).CurrentID())
	require.NotEqual(t, testKeyring(t, 1).CurrentID(), testKeyring(t, 2).CurrentID())

	box, err := testKeyring(t, 1).seal(uuid.New(), &document{})
	require.NoError(t, err)
	require.Equal(t, "72cd6e8422c407fb", box.keyID)
}

func TestKeyringRefuses(t *testing.T) {
	t.Parallel()

	keyring, id := testKeyring(t, 1), uuid.New()
	secret := GenerateSecret()
	box, err := keyring.seal(id, &document{secrets: []ValidSecret{{Secret: secret}}})
	require.NoError(t, err)
	requireRefused := func(t *testing.T, want error, keyring *Keyring, id uuid.UUID, ciphertext []byte) {
		t.Helper()

		opened, err := keyring.open(id, sealed{keyID: box.keyID, ciphertext: ciphertext})
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, box.keyID)
		require.Nil(t, opened)
		require.NotContains(t, err.Error(), secret.Reveal())
	}

	t.Run("another partner", func(t *testing.T) {
		t.Parallel()
		requireRefused(t, ErrDamaged, keyring, uuid.New(), box.ciphertext)
		requireRefused(t, ErrDamaged, keyring, uuid.Nil, box.ciphertext)
	})
	t.Run("another key", func(t *testing.T) {
		t.Parallel()
		requireRefused(t, ErrWrongKey, testKeyring(t, 2), id, box.ciphertext)
		requireRefused(t, ErrWrongKey, testKeyring(t, 2, 3), id, box.ciphertext)
	})
	t.Run("any flipped bit", func(t *testing.T) {
		t.Parallel()
		for bit := range len(box.ciphertext) * 8 {
			changed := bytes.Clone(box.ciphertext)
			changed[bit/8] ^= 1 << (bit % 8)
			requireRefused(t, ErrDamaged, keyring, id, changed)
		}
	})
	t.Run("any other length", func(t *testing.T) {
		t.Parallel()
		for length := range box.ciphertext {
			requireRefused(t, ErrDamaged, keyring, id, box.ciphertext[:length])
		}
		requireRefused(t, ErrDamaged, keyring, id, append(bytes.Clone(box.ciphertext), 0))
		requireRefused(t, ErrDamaged, keyring, id, nil)
	})
}

func TestKeyringWithOldKeys(t *testing.T) {
	t.Parallel()

	id := uuid.New()
	secrets := &document{secrets: []ValidSecret{{Secret: GenerateSecret()}}, headers: map[string]Secret{"X-Api-Key": "a token"}}
	before, err := testKeyring(t, 1).seal(id, secrets)
	require.NoError(t, err)
	keyring := testKeyring(t, 2, 3, 1, 1, 2) // one twice, and the current one among them
	require.Equal(t, testKeyring(t, 2).CurrentID(), keyring.CurrentID())
	require.Len(t, keyring.IDs(), 3)

	opened, err := keyring.open(id, before)
	require.NoError(t, err)
	require.Equal(t, secrets, opened)

	after, err := keyring.reseal(id, before)
	require.NoError(t, err)
	require.Equal(t, keyring.CurrentID(), after.keyID)
	opened, err = testKeyring(t, 2).open(id, after)
	require.NoError(t, err)
	require.Equal(t, secrets, opened)
	_, err = testKeyring(t, 1).open(id, after)
	require.ErrorIs(t, err, ErrWrongKey)

	_, err = keyring.reseal(uuid.New(), before)
	require.ErrorIs(t, err, ErrDamaged)
	_, err = testKeyring(t, 2).reseal(id, before)
	require.ErrorIs(t, err, ErrWrongKey)
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
