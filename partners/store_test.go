package partners

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestCreate(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	retries := 7
	params := acme(func(p *Params) {
		p.MaxRetries = &retries
		p.Secret = "a raw secret"
		p.CustomPayloadFields = json.RawMessage("{ \"zebra\":1,\n\"alpha\":2.50,\"alpha\":\"\\u0000\" }")
	})
	before := *params
	partner, secret, err := bundle.store.Create(t.Context(), "anna", params)
	require.NoError(t, err)
	require.Equal(t, Secret("a raw secret"), secret)
	require.Equal(t, before, *params, "its argument is the caller's")

	require.NotEqual(t, uuid.Nil, partner.ID)
	require.Equal(t, "anna", partner.UserID)
	require.Equal(t, params.Name, partner.Name)
	require.Equal(t, params.Slug, partner.Slug)
	require.Equal(t, params.URL, partner.URL)
	require.Equal(t, params.EnabledEvents, partner.EnabledEvents)
	require.Equal(t, string(params.CustomPayloadFields), string(partner.CustomPayloadFields), "to the byte")
	require.Equal(t, 7, *partner.MaxRetries)
	require.True(t, partner.Enabled)
	require.Nil(t, partner.DisabledReason)
	require.WithinDuration(t, time.Now(), partner.CreatedAt, time.Hour)
	require.Equal(t, partner.CreatedAt, partner.UpdatedAt)

	bySlug, err := bundle.store.Get(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	require.Equal(t, partner, bySlug)
	byID, err := bundle.store.GetMany(t.Context(), []Ref{{"anna", partner.ID}, {"anna", uuid.New()}, {"ben", partner.ID}})
	require.NoError(t, err)
	require.Equal(t, map[Ref]*Partner{{"anna", partner.ID}: partner}, byID)

	for _, shown := range []string{asJSON(t, partner), fmt.Sprintf("%+v %#v", partner, partner)} {
		requireHidden(t, "a raw secret", shown)
	}
}

func asJSON(t *testing.T, value any) string {
	t.Helper()

	document, err := json.Marshal(value)
	require.NoError(t, err)
	return string(document)
}

func TestCreateDefaults(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	partner, secret := bundle.add(t, "anna", acme(func(p *Params) { p.CustomPayloadFields = nil }))
	require.NoError(t, secret.Validate())
	require.False(t, secret.Weak())
	require.Equal(t, `{}`, string(partner.CustomPayloadFields))
	require.Nil(t, partner.MaxRetries)

	_, other := bundle.add(t, "ben", acme())
	require.NotEqual(t, secret, other)
}

// The longest that validation accepts fits the database as well.
func TestCreateAtTheLimits(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	retries := maxRetriesLimit
	events := make([]string, maxEvents)
	for i := range events {
		events[i] = strings.Repeat("x", MaxEventType-2) + ".*"
	}
	partner, _ := bundle.add(t, strings.Repeat("ü", MaxUserID), &Params{
		Name:                strings.Repeat("😀", maxName),
		Slug:                strings.Repeat("s", maxSlug),
		URL:                 "https://example.com/" + strings.Repeat("ü", maxURL-20),
		EnabledEvents:       events,
		CustomPayloadFields: json.RawMessage(`{"` + strings.Repeat("x", maxFieldsBytes-7) + `":[]}`),
		MaxRetries:          &retries,
		Secret:              whsec(maxSecretBytes),
	})
	require.Len(t, partner.EnabledEvents, maxEvents)
	require.Len(t, partner.CustomPayloadFields, maxFieldsBytes)
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	_, _, err := bundle.store.Create(t.Context(), "", acme())
	requireRefused(t, err, "user_id", "must not be empty")
	_, _, err = bundle.store.Create(t.Context(), "anna", acme(func(p *Params) { p.URL = "http://example.com" }))
	requireRefused(t, err, "url", "https://")
	_, _, err = bundle.store.Create(t.Context(), "anna", acme(func(p *Params) { p.Secret = "short" }))
	requireRefused(t, err, "secret", "8 to 128")

	withoutKey := NewStore(&StoreConfig{Pool: bundle.pool})
	_, _, err = withoutKey.Create(t.Context(), "anna", acme())
	require.ErrorIs(t, err, ErrNoKey)

	list, err := bundle.store.List(t.Context(), "anna")
	require.NoError(t, err)
	require.Empty(t, list)

	allowing := NewStore(&StoreConfig{Pool: bundle.pool, Keyring: bundle.keyring, Guard: NewGuard(&GuardConfig{AllowHTTP: true})})
	_, _, err = allowing.Create(t.Context(), "anna", acme(func(p *Params) { p.URL = "http://example.com" }))
	require.NoError(t, err)
}

func TestSlugTaken(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	first, _ := bundle.add(t, "anna", acme())
	_, secret, err := bundle.store.Create(t.Context(), "anna", acme(func(p *Params) { p.Name = "Another" }))
	require.ErrorIs(t, err, ErrSlugTaken)
	require.ErrorContains(t, err, `"acme-corp"`)
	require.Empty(t, secret)

	second, _ := bundle.add(t, "ben", acme())
	require.NotEqual(t, first.ID, second.ID)
	bundle.add(t, "anna", acme(func(p *Params) { p.Slug = "acme-corp-2" }))
}

func TestCreateTx(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	tx, err := bundle.pool.Begin(t.Context())
	require.NoError(t, err)
	_, _, err = bundle.store.CreateTx(t.Context(), tx, "anna", acme())
	require.NoError(t, err)
	_, err = bundle.store.Get(t.Context(), "anna", "acme-corp")
	require.ErrorIs(t, err, ErrNotFound, "not before the commit")
	require.NoError(t, tx.Rollback(t.Context()))

	list, err := bundle.store.List(t.Context(), "anna")
	require.NoError(t, err)
	require.Empty(t, list)

	require.NoError(t, pgx.BeginFunc(t.Context(), bundle.pool, func(tx pgx.Tx) error {
		_, _, err := bundle.store.CreateTx(t.Context(), tx, "anna", acme())
		return err
	}))
	_, err = bundle.store.Get(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
}

func TestList(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	for _, slug := range []string{"zebra", "alpha", "m-1"} {
		bundle.add(t, "anna", acme(func(p *Params) { p.Slug = slug }))
		bundle.add(t, "ben", acme(func(p *Params) { p.Slug = "bens-" + slug }))
	}
	list, err := bundle.store.List(t.Context(), "anna")
	require.NoError(t, err)
	require.Len(t, list, 3)
	for i, slug := range []string{"alpha", "m-1", "zebra"} {
		require.Equal(t, slug, list[i].Slug)
		require.Equal(t, "anna", list[i].UserID)
	}
	nobodys, err := bundle.store.List(t.Context(), "nobody")
	require.NoError(t, err)
	require.Empty(t, nobodys)
}

func TestDelete(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	partner, _ := bundle.add(t, "anna", acme())
	bens, _ := bundle.add(t, "ben", acme())
	deleted, err := bundle.store.Delete(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	require.Equal(t, partner, deleted)
	left, err := bundle.store.GetMany(t.Context(), []Ref{{"anna", partner.ID}, {"ben", bens.ID}})
	require.NoError(t, err)
	require.Equal(t, map[Ref]*Partner{{"ben", bens.ID}: bens}, left)
}
