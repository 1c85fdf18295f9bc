package partners

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// maxValidSecrets is how many secrets of a partner may sign at once, which bounds the header's length.
const maxValidSecrets = 10

// Unsealed is what requests to a partner are made with.
type Unsealed struct {
	Secrets []ValidSecret // that have not ended, the current one first
	Headers Headers
}

// Unseal opens a partner's secrets that have not ended at now, and its headers. Its error wraps [ErrNoKey],
// [ErrWrongKey], [ErrDamaged] or [ErrNewer].
func (s *Store) Unseal(partner *Partner, now time.Time) (*Unsealed, error) {
	opened, err := s.open(partner)
	if err != nil {
		return nil, err
	}
	return &Unsealed{Secrets: opened.validAt(now), Headers: partner.RequestHeaders.with(opened.headers)}, nil
}

// open opens what is sealed of a partner. Its error wraps [ErrNoKey], [ErrWrongKey], [ErrDamaged] or [ErrNewer].
func (s *Store) open(partner *Partner) (*document, error) {
	if s.keyring == nil {
		return nil, ErrNoKey
	}
	opened, err := s.keyring.open(partner.ID, partner.sealed)
	if err != nil {
		return nil, fmt.Errorf("partner %q: %w", partner.Slug, err)
	}
	return opened, nil
}

// RotateSecret gives a partner a new secret, one of the current one's scheme if secret is empty. The ones
// before it go on signing for overlap; 0 ends them at once. Errors: [*ValidationError], [ErrNotFound], [ErrNoKey],
// [ErrWrongKey], [ErrDamaged], [ErrNewer].
func (s *Store) RotateSecret(ctx context.Context, userID, slug string, secret Secret, overlap time.Duration) (Secret, error) {
	if secret != "" {
		if err := secret.Validate(); err != nil {
			return "", err
		}
	}
	if overlap < 0 {
		return "", invalid("overlap", overlap.String(), "must not be negative")
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		partner, err := lock(ctx, tx, userID, slug)
		if err != nil {
			return err
		}
		opened, err := s.open(partner)
		if err != nil {
			return err
		}
		if secret == "" {
			secret = opened.scheme().GenerateSecret()
		}
		box, err := s.rotated(partner, opened, secret, overlap, time.Now())
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

// lock reads a partner that the transaction is about to change by what it holds now.
func lock(ctx context.Context, tx pgx.Tx, userID, slug string) (*Partner, error) {
	partner, err := queryOne(ctx, tx, `select `+columns+`
		  from partner_webhooks where user_id = $1 and partner_slug = $2 for update`, userID, slug)
	return partner, reading(slug, err)
}

// rotated seals the new secret before the ones that are still valid, which end after overlap if they
// would not end earlier.
func (s *Store) rotated(partner *Partner, opened *document, secret Secret, overlap time.Duration, now time.Time) (sealed, error) {
	valid := opened.validAt(now)
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
	return s.keyring.seal(partner.ID, &document{secrets: secrets, headers: opened.headers})
}
