package partners

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// secretsOf opens the secrets of all partners with a store's keys.
func (b *testBundle) secretsOf(t *testing.T, store *Store, userID string) map[string][]string {
	t.Helper()

	list, err := store.List(t.Context(), userID)
	require.NoError(t, err)
	secrets := map[string][]string{}
	for _, partner := range list {
		opened, err := store.Unseal(partner, time.Now())
		require.NoError(t, err)
		for _, secret := range opened.Secrets {
			secrets[partner.Slug] = append(secrets[partner.Slug], secret.Secret.Reveal())
		}
	}
	return secrets
}

func TestReseal(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	const count = 2*resealBatch + 7
	addMany(t, bundle.store, "anna", count)
	_, err := bundle.store.RotateSecret(t.Context(), "anna", "slug-3", "", time.Hour)
	require.NoError(t, err)
	before := bundle.secretsOf(t, bundle.store, "anna")
	require.Len(t, before["slug-3"], 2)
	fresh := bundle.with(testKeyring(t, 2))
	addMany(t, fresh, "ben", 3)
	bens, err := fresh.List(t.Context(), "ben")
	require.NoError(t, err)
	updated, err := bundle.store.Get(t.Context(), "anna", "slug-0")
	require.NoError(t, err)

	result, err := bundle.with(testKeyring(t, 2, 1)).Reseal(t.Context())
	require.NoError(t, err)
	require.Equal(t, &Resealing{Partners: count}, result)
	require.Equal(t, before, bundle.secretsOf(t, fresh, "anna"), "the new key alone opens all")
	after, err := fresh.List(t.Context(), "ben")
	require.NoError(t, err)
	require.Equal(t, bens, after, "what the current key sealed is left alone")
	now, err := fresh.Get(t.Context(), "anna", "slug-0")
	require.NoError(t, err)
	require.Equal(t, updated.UpdatedAt, now.UpdatedAt)

	result, err = bundle.with(testKeyring(t, 2, 1)).Reseal(t.Context())
	require.NoError(t, err)
	require.Equal(t, &Resealing{}, result)
}

func TestResealWorksBehindAPooler(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol", "cache_describe"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()

			bundle := setup(t)
			addMany(t, bundle.store, "anna", 3)
			pooled, err := pgxpool.New(t.Context(), testdb.URL(bundle.pool)+"&default_query_exec_mode="+mode)
			require.NoError(t, err)
			defer pooled.Close()
			store := NewStore(&StoreConfig{Pool: pooled, Keyring: testKeyring(t, 2, 1)})
			require.NoError(t, store.CheckKey(t.Context()))
			result, err := store.Reseal(t.Context())
			require.NoError(t, err)
			require.Equal(t, 3, result.Partners)
			uses, err := store.KeyUses(t.Context())
			require.NoError(t, err)
			require.Equal(t, 3, uses[0].Partners)
			require.Len(t, bundle.secretsOf(t, bundle.with(testKeyring(t, 2)), "anna"), 3)
		})
	}
}

func TestResealLeaves(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	_, err := bundle.with(nil).Reseal(t.Context())
	require.ErrorIs(t, err, ErrNoKey)
	addMany(t, bundle.store, "anna", 3)
	addMany(t, bundle.with(testKeyring(t, 9)), "ben", 2)
	_, err = bundle.pool.Exec(t.Context(), `
		update partner_webhooks set secret_ciphertext = secret_ciphertext || '\x00' where user_id = 'anna' and partner_slug = 'slug-1'`)
	require.NoError(t, err)

	store := bundle.with(testKeyring(t, 2, 1))
	for _, want := range []int{2, 0} {
		result, err := store.Reseal(t.Context())
		require.NoError(t, err)
		require.Equal(t, &Resealing{
			Partners: want,
			Damaged:  []Damaged{{UserID: "anna", Slug: "slug-1", KeyID: bundle.keyring.CurrentID()}},
		}, result)
	}
	uses, err := store.KeyUses(t.Context())
	require.NoError(t, err)
	require.Equal(t, []KeyUse{
		{testKeyring(t, 2).CurrentID(), KeyCurrent, 2},
		{bundle.keyring.CurrentID(), KeyOld, 1},
		{testKeyring(t, 9).CurrentID(), KeyMissing, 2},
	}, uses)
}

// What a row's holder does to it is neither lost nor waited for by the others.
func TestResealWaitsForNobodyButInTheEnd(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	addMany(t, bundle.store, "anna", 4)
	tx, err := bundle.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	// A transaction that holds one row and asks for the others would be in a deadlock with one that locks all.
	_, err = tx.Exec(t.Context(), `delete from partner_webhooks where user_id = 'anna' and partner_slug = 'slug-2'`)
	require.NoError(t, err)

	var result *Resealing
	var resealErr error
	var group sync.WaitGroup
	store := bundle.with(testKeyring(t, 2, 1))
	group.Go(func() { result, resealErr = store.Reseal(context.WithoutCancel(t.Context())) })
	require.Eventually(t, func() bool {
		var resealed int
		err := bundle.pool.QueryRow(t.Context(), `select count(*) from partner_webhooks where secret_key_id = $1`, testKeyring(t, 2).CurrentID()).Scan(&resealed)
		return err == nil && resealed == 3
	}, 20*time.Second, 10*time.Millisecond, "those that nobody holds")
	_, err = tx.Exec(t.Context(), `delete from partner_webhooks where user_id = 'anna'`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	group.Wait()
	require.NoError(t, resealErr)
	require.Equal(t, &Resealing{Partners: 3}, result)
	list, err := store.List(t.Context(), "anna")
	require.NoError(t, err)
	require.Empty(t, list)
}

// An application goes on changing its partners meanwhile, with the old key and with the new one.
func TestResealLosesNoChange(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	const count = 40
	addMany(t, bundle.store, "anna", count)
	stores := []*Store{bundle.with(testKeyring(t, 1, 2)), bundle.with(testKeyring(t, 2, 1))}
	rotated := make([]Secret, count)
	deleted := map[string]bool{}
	var group sync.WaitGroup
	group.Go(func() {
		for i := range count {
			slug := "slug-" + strconv.Itoa(i)
			store := stores[i%2]
			var err error
			switch i % 5 {
			case 4:
				_, err = store.Delete(t.Context(), "anna", slug)
				deleted[slug] = true
			case 3:
				name := "renamed"
				_, err = store.Update(t.Context(), "anna", slug, &Changes{Name: &name})
			default:
				rotated[i], err = store.RotateSecret(t.Context(), "anna", slug, "", time.Hour)
			}
			if err != nil {
				t.Errorf("changing %s: %v", slug, err)
			}
		}
	})
	for range 2 { // two at once are as good as one
		group.Go(func() {
			for range 5 {
				if _, err := stores[1].Reseal(t.Context()); err != nil {
					t.Errorf("re-encrypting: %v", err)
				}
			}
		})
	}
	group.Wait()
	_, err := stores[1].Reseal(t.Context())
	require.NoError(t, err)

	secrets := bundle.secretsOf(t, bundle.with(testKeyring(t, 2)), "anna")
	for i := range count {
		slug := "slug-" + strconv.Itoa(i)
		switch {
		case deleted[slug]:
			require.NotContains(t, secrets, slug)
		case rotated[i] != "":
			require.Len(t, secrets[slug], 2)
			require.Equal(t, rotated[i].Reveal(), secrets[slug][0])
		default:
			require.Len(t, secrets[slug], 1)
			partner, err := stores[1].Get(t.Context(), "anna", slug)
			require.NoError(t, err)
			require.Equal(t, "renamed", partner.Name)
		}
	}
}

// Killed half-way, what was committed is with the new key and the rest with the old one.
func TestResealGoesOn(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	const count = 3 * resealBatch
	addMany(t, bundle.store, "anna", count)
	before := bundle.secretsOf(t, bundle.store, "anna")
	store := bundle.with(testKeyring(t, 2, 1))
	// The last of the second batch can't be written.
	_, err := bundle.pool.Exec(t.Context(), `
		create function refuse() returns trigger language plpgsql as $$ begin raise exception 'disk full'; end $$`)
	require.NoError(t, err)
	_, err = bundle.pool.Exec(t.Context(), `
		do $$ begin execute format('create trigger refuse before update on partner_webhooks for each row when (new.id = %L) execute function refuse()',
		    (select id from partner_webhooks order by id offset `+strconv.Itoa(2*resealBatch-1)+` limit 1)); end $$`)
	require.NoError(t, err)
	result, err := store.Reseal(t.Context())
	require.ErrorContains(t, err, "re-encrypting secrets")
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, resealBatch, result.Partners)
	require.Equal(t, before, bundle.secretsOf(t, store, "anna"))

	_, err = bundle.pool.Exec(t.Context(), `drop trigger refuse on partner_webhooks`)
	require.NoError(t, err)
	result, err = store.Reseal(t.Context())
	require.NoError(t, err)
	require.Equal(t, count-resealBatch, result.Partners)
	require.Equal(t, before, bundle.secretsOf(t, bundle.with(testKeyring(t, 2)), "anna"))
}
