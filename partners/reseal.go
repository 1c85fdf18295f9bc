package partners

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// resealBatch is how many partners are locked at once while their secrets are sealed anew.
const resealBatch = 100

// Resealing is what [Store.Reseal] did.
type Resealing struct {
	Partners int       // whose secrets have come to the current key
	Damaged  []Damaged // whose secrets stay with an old key at hand, which does not open them
}

// Damaged is a partner for which [ErrDamaged] holds.
type Damaged struct {
	UserID string `json:"user_id"`
	Slug   string `json:"partner_slug"`
	KeyID  string `json:"key_id"`
}

// Reseal seals anew with the current key what the old keys at hand sealed, while workers run and partners are
// changed. Cut off at any point it can be called again, and goes on; also with an error its result is true of
// what was done. updated_at stays as it is, since nothing changes for the partner. Its error wraps [ErrNoKey]
// if there is no key.
func (s *Store) Reseal(ctx context.Context) (*Resealing, error) {
	total := &Resealing{}
	if s.keyring == nil {
		return total, ErrNoKey
	}
	// Who waits for a row while it holds others can come to a deadlock with one who deletes several. So what
	// somebody else holds is left out at first, and taken one by one in the end, with what was added meanwhile.
	for _, round := range []struct {
		size int
		lock string
	}{
		{resealBatch, `for update skip locked`},
		{1, `for update`},
	} {
		total.Damaged = nil // each round comes to all of them
		for last, done := uuid.Nil, false; !done; {
			var batch *Resealing
			err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
				list, err := s.lockOldSecrets(ctx, tx, last, round.size, round.lock)
				if err != nil {
					return err
				}
				if done = len(list) == 0; !done {
					last = list[len(list)-1].ID
				}
				batch, err = s.resealAll(ctx, tx, list)
				return err
			})
			if err != nil {
				return total, fmt.Errorf("re-encrypting secrets: %w", err)
			}
			total.Partners += batch.Partners
			total.Damaged = append(total.Damaged, batch.Damaged...)
		}
	}
	return total, nil
}

// lockOldSecrets reads and locks the next partners after one, by id, that an old key at hand sealed.
func (s *Store) lockOldSecrets(ctx context.Context, tx pgx.Tx, after uuid.UUID, limit int, lock string) ([]*Partner, error) {
	rows, err := tx.Query(ctx, `select `+columns+`
		  from partner_webhooks
		 where id > $1 and secret_key_id = any($2) and secret_key_id <> $3
		 order by id
		 limit $4 `+lock, after, s.keyring.IDs(), s.keyring.current, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// resealAll seals anew the secrets of partners that are locked.
func (s *Store) resealAll(ctx context.Context, tx pgx.Tx, list []*Partner) (*Resealing, error) {
	result := &Resealing{}
	var (
		ids         []string // a pooler's mode of executing knows no arrays of UUIDs
		ciphertexts [][]byte
	)
	for _, partner := range list {
		box, err := s.keyring.reseal(partner.ID, partner.sealed)
		if err != nil {
			result.Damaged = append(result.Damaged, Damaged{UserID: partner.UserID, Slug: partner.Slug, KeyID: partner.sealed.keyID})
			continue
		}
		ids, ciphertexts = append(ids, partner.ID.String()), append(ciphertexts, box.ciphertext)
	}
	if result.Partners = len(ids); result.Partners == 0 {
		return result, nil
	}
	_, err := tx.Exec(ctx, `
		update partner_webhooks p
		   set secret_key_id = $1, secret_ciphertext = new.ciphertext
		  from unnest($2::uuid[], $3::bytea[]) as new (id, ciphertext)
		 where p.id = new.id`, s.keyring.current, ids, ciphertexts)
	return result, err
}
