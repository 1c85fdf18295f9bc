package partners

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Another user's partner is answered exactly as one that does not exist.
func TestUsersDoNotReachEachOther(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	store := bundle.store
	annas, _ := bundle.add(t, "anna", acme())
	name := "changed"
	ways := map[string]func(ctx context.Context, userID string) error{
		"get": func(ctx context.Context, userID string) error {
			_, err := store.Get(ctx, userID, "acme-corp")
			return err
		},
		"get by id": func(ctx context.Context, userID string) error {
			found, err := store.GetMany(ctx, []Ref{{userID, annas.ID}})
			if err == nil && len(found) == 0 {
				return ErrNotFound
			}
			return err
		},
		"update": func(ctx context.Context, userID string) error {
			_, err := store.Update(ctx, userID, "acme-corp", &Changes{Name: &name})
			return err
		},
		"enable": func(ctx context.Context, userID string) error {
			_, err := store.Enable(ctx, userID, "acme-corp")
			return err
		},
		"disable": func(ctx context.Context, userID string) error {
			_, err := store.Disable(ctx, userID, "acme-corp", "why")
			return err
		},
		"rotate": func(ctx context.Context, userID string) error {
			_, err := store.RotateSecret(ctx, userID, "acme-corp", "", time.Hour)
			return err
		},
		"delete": func(ctx context.Context, userID string) error {
			_, err := store.Delete(ctx, userID, "acme-corp")
			return err
		},
	}
	texts := map[string]string{}
	for way, try := range ways {
		err := try(t.Context(), "ben")
		require.ErrorIs(t, err, ErrNotFound, way)
		texts[way] = err.Error()
		require.ErrorIs(t, try(t.Context(), "an\x00na"), ErrNotFound, way)
		require.ErrorIs(t, try(t.Context(), "\xff"), ErrNotFound, way)
	}
	unchanged, err := store.Get(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	require.Equal(t, annas, unchanged)

	_, err = store.Delete(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	for way, try := range ways {
		require.EqualError(t, try(t.Context(), "ben"), texts[way], way)
		require.EqualError(t, try(t.Context(), "anna"), texts[way], way)
	}
	for _, slug := range []string{"", "acme%", "acme\x00corp", "\xff", "ACME-CORP"} {
		_, err := store.Get(t.Context(), "anna", slug)
		require.ErrorIs(t, err, ErrNotFound, "%q", slug)
	}
}
