package partners

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// maxValidSecrets is how many secrets of a partner may sign at once, which bounds the header's length.
const maxValidSecrets = 10

// ValidSecrets opens a partner's secrets that have not ended at now, the current one first. Its error
// wraps [ErrNoKey] or [ErrWrongKey].
func (s *Store) ValidSecrets(partner *Partner, now time.Time) ([]ValidSecret, error) {
	if s.keyring == nil {
		return nil, ErrNoKey
	}
	secrets, err := s.keyring.open(partner.ID, partner.sealed)
	if err != nil {
		return nil, fmt.Errorf("partner %q: %w", partner.Slug, err)
	}
	return slices.DeleteFunc(secrets, func(secret ValidSecret) bool {
		return secret.ExpiresAt != nil && !secret.ExpiresAt.After(now)
	}), nil
}

// RotateSecret gives a partner a new secret, generated if secret is empty. The ones before it go on
// signing for overlap; 0 ends them at once. Errors: [*ValidationError], [ErrNotFound], [ErrNoKey],
// [ErrWrongKey].
func (s *Store) RotateSecret(ctx context.Context, userID, slug string, secret Secret, overlap time.Duration) (Secret, error) {
	if secret == "" {
		secret = GenerateSecret()
	}
	if err := secret.Validate(); err != nil {
		return "", err
	}
	if overlap < 0 {
		return "", invalid("overlap", overlap.String(), "must not be negative")
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		partner, err := queryOne(ctx, tx, `select `+columns+`
			  from partner_webhooks where user_id = $1 and partner_slug = $2 for update`, userID, slug)
		if err != nil {
			return reading(slug, err)
		}
		box, err := s.rotated(partner, secret, overlap, time.Now())
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			update partner_webhooks
			   set secret_key_id = $3, secret_ciphertext = $4, updated_at = now()
			 where user_id = $1 and id = $2`, userID, partner.ID, box.keyID, box.ciphertext)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("rotating the secret: %w", err)
	}
	return secret, nil
}

// rotated seals the new secret before the ones that are still valid, which end after overlap if they
// would not end earlier.
func (s *Store) rotated(partner *Partner, secret Secret, overlap time.Duration, now time.Time) (sealed, error) {
	valid, err := s.ValidSecrets(partner, now)
	if err != nil {
		return sealed{}, err
	}
	secrets := []ValidSecret{{Secret: secret}}
	if overlap > 0 {
		end := now.Add(overlap)
		for _, old := range valid {
			if old.ExpiresAt == nil || old.ExpiresAt.After(end) {
				old.ExpiresAt = &end
			}
			secrets = append(secrets, old)
		}
	}
	if len(secrets) > maxValidSecrets {
		return sealed{}, invalid("secret", "", "can't be rotated: %d secrets of this partner are still valid; end them at once with an overlap of 0", len(valid))
	}
	return s.keyring.seal(partner.ID, secrets)
}

// CheckKey returns an error that wraps [ErrWrongKey] if there are partners and the encryption key opens
// the secrets of none of them.
func (s *Store) CheckKey(ctx context.Context) error {
	if s.keyring == nil {
		return ErrNoKey
	}
	// Those of our key first: one that opens is enough. A sample of the others stands for all.
	rows, err := s.pool.Query(ctx, `
		select id, secret_key_id, secret_ciphertext
		  from partner_webhooks
		 order by (secret_key_id = $1) desc
		 limit 10`, s.keyring.id)
	if err != nil {
		return fmt.Errorf("reading partners to check the encryption key: %w", err)
	}
	var (
		id   uuid.UUID
		box  sealed
		last error
	)
	opened := false
	_, err = pgx.ForEachRow(rows, []any{&id, &box.keyID, &box.ciphertext}, func() error {
		if _, openErr := s.keyring.open(id, box); openErr != nil {
			last = openErr
		} else {
			opened = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading partners to check the encryption key: %w", err)
	}
	if opened {
		return nil
	}
	return last
}
