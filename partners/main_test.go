package partners

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// testBundle is a store on a database of its own.
type testBundle struct {
	pool    *pgxpool.Pool
	keyring *Keyring
	store   *Store
}

func setup(t *testing.T) *testBundle {
	t.Helper()

	pool, keyring := testdb.New(t), testKeyring(t, 1)
	return &testBundle{
		pool:    pool,
		keyring: keyring,
		store:   NewStore(&StoreConfig{Pool: pool, Keyring: keyring}),
	}
}

// add creates a partner that must be accepted.
func (b *testBundle) add(t *testing.T, userID string, params *Params) (*Partner, Secret) {
	t.Helper()

	partner, secret, err := b.store.Create(t.Context(), userID, params)
	require.NoError(t, err)
	return partner, secret
}

// testKeyring makes a keyring each of whose keys is a byte, over and over.
func testKeyring(t *testing.T, fill byte, old ...byte) *Keyring {
	t.Helper()

	var keys [][]byte
	for _, fill := range old {
		keys = append(keys, bytes.Repeat([]byte{fill}, KeySize))
	}
	keyring, err := NewKeyring(bytes.Repeat([]byte{fill}, KeySize), keys...)
	require.NoError(t, err)
	return keyring
}

// acme is a partner that is accepted, for tests to change a part of.
func acme(change ...func(*Params)) *Params {
	params := &Params{
		Name:                "Acme Corp",
		Slug:                "acme-corp",
		URL:                 "https://example.com/webhooks?team=voice",
		EnabledEvents:       []string{"call.completed", "booking.*"},
		CustomPayloadFields: json.RawMessage(`{"brand": "AcmeVoice"}`),
	}
	for _, apply := range change {
		apply(params)
	}
	return params
}

// requireRefused checks that err is a [ValidationError] for field with the reason in it.
func requireRefused(t *testing.T, err error, field, reason string) {
	t.Helper()

	var refused *ValidationError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, field, refused.Field)
	require.Contains(t, refused.Reason, reason)
	require.NotContains(t, err.Error(), "\n")
}
