package partners

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// changeHeaders writes a partner's headers after changes, if there are any.
func (s *Store) changeHeaders(ctx context.Context, tx pgx.Tx, userID, slug string, changes Headers) error {
	if changes.Plain == nil && changes.Secret == nil {
		return nil
	}
	partner, err := lock(ctx, tx, userID, slug)
	if err != nil {
		return err
	}
	opened, err := s.open(partner)
	if err != nil {
		return err
	}
	headers, err := partner.RequestHeaders.with(opened.headers).changed(changes).canonical()
	if err != nil {
		return err
	}
	box, err := s.keyring.seal(partner.ID, &document{secrets: opened.secrets, headers: headers.Secret})
	if err != nil {
		return err
	}
	shown, err := headers.public().column()
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		update partner_webhooks
		   set request_headers = $3, secret_key_id = $4, secret_ciphertext = $5
		 where user_id = $1 and id = $2`, userID, partner.ID, shown, box.keyID, box.ciphertext); err != nil {
		return fmt.Errorf("changing the headers of partner %q: %w", slug, err)
	}
	return nil
}
