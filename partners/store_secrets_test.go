package partners

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// requireSigns checks which secrets of a partner are valid now, the current one first.
func requireSigns(t *testing.T, bundle *testBundle, partner *Partner, want ...Secret) {
	t.Helper()
	requireSignsAt(t, bundle, partner, time.Now(), want...)
}

func requireSignsAt(t *testing.T, bundle *testBundle, partner *Partner, now time.Time, want ...Secret) {
	t.Helper()

	opened, err := bundle.store.Unseal(partner, now)
	require.NoError(t, err)
	got := make([]string, len(opened.Secrets))
	for i, secret := range opened.Secrets {
		got[i] = secret.Secret.Reveal()
	}
	wanted := make([]string, len(want))
	for i, secret := range want {
		wanted[i] = secret.Reveal()
	}
	require.Equal(t, wanted, got)
}

func (b *testBundle) get(t *testing.T) *Partner {
	t.Helper()

	partner, err := b.store.Get(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	return partner
}

func (b *testBundle) rotate(t *testing.T, secret Secret, overlap time.Duration) Secret {
	t.Helper()

	rotated, err := b.store.RotateSecret(t.Context(), "anna", "acme-corp", secret, overlap)
	require.NoError(t, err)
	return rotated
}

func TestRotateSecretWithOverlap(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	created, first := bundle.add(t, "anna", acme())
	bens, bensSecret := bundle.add(t, "ben", acme())

	second := bundle.rotate(t, "", 2*time.Hour)
	require.NoError(t, second.Validate())
	require.NotEqual(t, first, second)
	partner := bundle.get(t)
	require.True(t, partner.UpdatedAt.After(created.UpdatedAt))
	requireSigns(t, bundle, partner, second, first)
	requireSignsAt(t, bundle, partner, time.Now().Add(2*time.Hour-time.Minute), second, first)
	requireSignsAt(t, bundle, partner, time.Now().Add(2*time.Hour), second)

	// The one before the last keeps its own, earlier end.
	third := bundle.rotate(t, "the third secret", 24*time.Hour)
	require.Equal(t, Secret("the third secret"), third)
	requireSigns(t, bundle, bundle.get(t), third, second, first)
	requireSignsAt(t, bundle, bundle.get(t), time.Now().Add(3*time.Hour), third, second)
	requireSignsAt(t, bundle, bundle.get(t), time.Now().Add(25*time.Hour), third)

	// A shorter overlap brings forward what would end later.
	fourth := bundle.rotate(t, "", time.Hour)
	requireSigns(t, bundle, bundle.get(t), fourth, third, second, first)
	requireSignsAt(t, bundle, bundle.get(t), time.Now().Add(time.Hour), fourth)

	// Whoever read the partner before goes on with what it has.
	requireSigns(t, bundle, created, first)
	requireSigns(t, bundle, bens, bensSecret)
}

func TestRotateSecretAtOnce(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	bundle.add(t, "anna", acme())
	bundle.rotate(t, "", time.Hour)
	third := bundle.rotate(t, "", 0)
	requireSigns(t, bundle, bundle.get(t), third)
	requireSignsAt(t, bundle, bundle.get(t), time.Now().AddDate(1000, 0, 0), third)
}

func TestRotateSecretKeepsTheScheme(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	_, first := bundle.add(t, "anna", acme())
	require.Equal(t, SchemeV1, first.Scheme())
	second := bundle.rotate(t, "", time.Hour)
	require.Equal(t, SchemeV1, second.Scheme())
	third := bundle.rotate(t, SchemeV1a.GenerateSecret(), time.Hour)
	fourth := bundle.rotate(t, "", time.Hour)
	require.Equal(t, SchemeV1a, fourth.Scheme())
	require.NotEqual(t, third, fourth)
	requireSigns(t, bundle, bundle.get(t), fourth, third, second, first)
	require.Equal(t, SchemeV1, bundle.rotate(t, "a raw secret", 0).Scheme())
	require.Equal(t, SchemeV1, bundle.rotate(t, "", 0).Scheme())
}

func TestExpiredSecretsAreForgotten(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	partner, first := bundle.add(t, "anna", acme())
	now := time.Now()
	opened, err := bundle.store.open(partner)
	require.NoError(t, err)
	box, err := bundle.store.rotated(partner, opened, "second secret", time.Hour, now)
	require.NoError(t, err)
	partner.sealed = box
	requireSignsAt(t, bundle, partner, now, "second secret", first)

	opened, err = bundle.store.open(partner)
	require.NoError(t, err)
	box, err = bundle.store.rotated(partner, opened, "third secret", time.Hour, now.Add(time.Hour))
	require.NoError(t, err)
	opened, err = bundle.keyring.open(partner.ID, box)
	require.NoError(t, err)
	require.Len(t, opened.secrets, 2, "what has ended is not stored again")
}

func TestAtMostTenSecrets(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	_, first := bundle.add(t, "anna", acme())
	want := []Secret{first}
	for range maxValidSecrets - 1 {
		want = append([]Secret{bundle.rotate(t, "", time.Hour)}, want...)
	}
	requireSigns(t, bundle, bundle.get(t), want...)

	_, err := bundle.store.RotateSecret(t.Context(), "anna", "acme-corp", "", time.Hour)
	requireRefused(t, err, "secret", "10 secrets of this partner are still valid")
	requireSigns(t, bundle, bundle.get(t), want...)

	requireSigns(t, bundle, bundle.get(t), want...)
	last := bundle.rotate(t, "", 0)
	requireSigns(t, bundle, bundle.get(t), last)
}

func TestConcurrentRotationsLoseNone(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	_, first := bundle.add(t, "anna", acme())
	secrets := make([]Secret, 8)
	errs := make([]error, len(secrets))
	var group sync.WaitGroup
	for i := range secrets {
		group.Go(func() {
			secrets[i], errs[i] = bundle.store.RotateSecret(t.Context(), "anna", "acme-corp", "", time.Hour)
		})
	}
	group.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	opened, err := bundle.store.Unseal(bundle.get(t), time.Now())
	require.NoError(t, err)
	stored := make([]Secret, len(opened.Secrets))
	for i, secret := range opened.Secrets {
		stored[i] = secret.Secret
		require.Equal(t, i == 0, secret.ExpiresAt == nil, "only the current one has no end")
	}
	require.ElementsMatch(t, append([]Secret{first}, secrets...), stored)
}

func TestRotateSecretRefuses(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	_, first := bundle.add(t, "anna", acme())
	_, err := bundle.store.RotateSecret(t.Context(), "anna", "acme-corp", "short", 0)
	requireRefused(t, err, "secret", "8 to 128 bytes")
	_, err = bundle.store.RotateSecret(t.Context(), "anna", "acme-corp", "", -time.Second)
	requireRefused(t, err, "overlap", "must not be negative")
	_, err = bundle.store.RotateSecret(t.Context(), "anna", "another", "", 0)
	require.ErrorIs(t, err, ErrNotFound)

	_, err = NewStore(&StoreConfig{Pool: bundle.pool}).RotateSecret(t.Context(), "anna", "acme-corp", "", 0)
	require.ErrorIs(t, err, ErrNoKey)
	otherKey := NewStore(&StoreConfig{Pool: bundle.pool, Keyring: testKeyring(t, 2)})
	_, err = otherKey.RotateSecret(t.Context(), "anna", "acme-corp", "", 0)
	require.ErrorIs(t, err, ErrWrongKey)
	requireSigns(t, bundle, bundle.get(t), first)
}

func TestUnsealNeedsTheKey(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	partner, _ := bundle.add(t, "anna", acme())
	_, err := NewStore(&StoreConfig{Pool: bundle.pool}).Unseal(partner, time.Now())
	require.ErrorIs(t, err, ErrNoKey)
	_, err = NewStore(&StoreConfig{Pool: bundle.pool, Keyring: testKeyring(t, 2)}).Unseal(partner, time.Now())
	require.ErrorIs(t, err, ErrWrongKey)
	require.ErrorContains(t, err, "acme-corp")
}
