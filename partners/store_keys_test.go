package partners

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// with is a store on the same database with other keys.
func (b *testBundle) with(keyring *Keyring) *Store {
	return NewStore(&StoreConfig{Pool: b.pool, Keyring: keyring})
}

// addMany creates partners of a user, named a, b and so on.
func addMany(t *testing.T, store *Store, userID string, count int) {
	t.Helper()

	for i := range count {
		_, _, err := store.Create(t.Context(), userID, acme(func(p *Params) { p.Slug = "slug-" + strconv.Itoa(i) }))
		require.NoError(t, err)
	}
}

func TestKeyUses(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	_, err := bundle.with(nil).KeyUses(t.Context())
	require.ErrorIs(t, err, ErrNoKey)
	one, two, three, four := testKeyring(t, 1).CurrentID(), testKeyring(t, 2).CurrentID(), testKeyring(t, 3).CurrentID(), testKeyring(t, 4).CurrentID()

	uses, err := bundle.store.KeyUses(t.Context())
	require.NoError(t, err)
	require.Equal(t, []KeyUse{{one, KeyCurrent, 0}}, uses)

	addMany(t, bundle.store, "anna", 3)
	addMany(t, bundle.with(testKeyring(t, 2)), "ben", 2)
	addMany(t, bundle.with(testKeyring(t, 4)), "carl", 1)
	uses, err = bundle.with(testKeyring(t, 2, 3, 1)).KeyUses(t.Context())
	require.NoError(t, err)
	require.Equal(t, KeyUse{two, KeyCurrent, 2}, uses[0])
	require.ElementsMatch(t, []KeyUse{{one, KeyOld, 3}, {three, KeyOld, 0}}, uses[1:3])
	require.Equal(t, []KeyUse{{four, KeyMissing, 1}}, uses[3:])
}

func TestCheckKey(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	other := NewStore(&StoreConfig{Pool: bundle.pool, Keyring: testKeyring(t, 2)})
	require.ErrorIs(t, NewStore(&StoreConfig{Pool: bundle.pool}).CheckKey(t.Context()), ErrNoKey)

	// No partners: every key is right.
	require.NoError(t, bundle.store.CheckKey(t.Context()))
	require.NoError(t, other.CheckKey(t.Context()))

	for _, slug := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"} {
		bundle.add(t, "anna", acme(func(p *Params) { p.Slug = slug }))
	}
	require.NoError(t, bundle.store.CheckKey(t.Context()))
	require.ErrorIs(t, other.CheckKey(t.Context()), ErrWrongKey)
	require.NoError(t, bundle.with(testKeyring(t, 2, 1)).CheckKey(t.Context()), "an old key counts too")

	// Mixed: one of its own is enough, however many others there are.
	_, _, err := other.Create(t.Context(), "ben", acme())
	require.NoError(t, err)
	require.NoError(t, bundle.store.CheckKey(t.Context()))
	require.NoError(t, other.CheckKey(t.Context()))

	// A row that claims the key and does not open is no proof.
	_, err = bundle.pool.Exec(t.Context(), `update partner_webhooks set secret_ciphertext = secret_ciphertext || '\x00'`)
	require.NoError(t, err)
	require.ErrorIs(t, bundle.store.CheckKey(t.Context()), ErrDamaged)
}
