package partners

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// KeyState is what an encryption key is to this process.
type KeyState string

// The states of keys.
const (
	KeyCurrent KeyState = "current" // it seals, and opens
	KeyOld     KeyState = "old"     // it opens
	KeyMissing KeyState = "missing" // it sealed secrets, and is not at hand
)

// KeyUse says how many partners' secrets a key sealed.
type KeyUse struct {
	KeyID    string   `json:"key_id"`
	State    KeyState `json:"state"`
	Partners int      `json:"partners"`
}

// KeyUses lists the keys at hand, the current one first, and then those that sealed secrets and are missing. Its
// error wraps [ErrNoKey] if there are none at hand.
func (s *Store) KeyUses(ctx context.Context) ([]KeyUse, error) {
	if s.keyring == nil {
		return nil, ErrNoKey
	}
	rows, err := s.pool.Query(ctx, `select secret_key_id, count(*) from partner_webhooks group by secret_key_id`)
	if err != nil {
		return nil, fmt.Errorf("counting partners by key: %w", err)
	}
	var (
		id     string
		count  int
		counts = map[string]int{}
		uses   []KeyUse
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &count}, func() error {
		counts[id] = count
		if !s.keyring.has(id) {
			uses = append(uses, KeyUse{KeyID: id, State: KeyMissing, Partners: count})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("counting partners by key: %w", err)
	}
	for _, id := range s.keyring.IDs() {
		use := KeyUse{KeyID: id, State: KeyOld, Partners: counts[id]}
		if id == s.keyring.current {
			use.State = KeyCurrent
		}
		uses = append(uses, use)
	}
	order := []KeyState{KeyCurrent, KeyOld, KeyMissing}
	slices.SortFunc(uses, func(a, b KeyUse) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State)), cmp.Compare(a.KeyID, b.KeyID))
	})
	return uses, nil
}

// CheckKey returns an error that wraps [ErrWrongKey] or [ErrDamaged] if there are partners and the keys at hand
// open the secrets of none of them.
func (s *Store) CheckKey(ctx context.Context) error {
	if s.keyring == nil {
		return ErrNoKey
	}
	// Those of our keys first: one that opens is enough. A sample of the others stands for all.
	rows, err := s.pool.Query(ctx, `
		select id, secret_key_id, secret_ciphertext
		  from partner_webhooks
		 order by (secret_key_id = any($1)) desc
		 limit 10`, s.keyring.IDs())
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
		if _, openErr := s.keyring.open(id, box); openErr != nil && !errors.Is(openErr, ErrNewer) {
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
