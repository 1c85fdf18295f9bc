package partners

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// StoreConfig is what a Store needs.
type StoreConfig struct {
	Pool    *pgxpool.Pool
	Keyring *Keyring // nil: nothing that touches a secret works
	Guard   *Guard   // what URLs partners may have; nil: public https ones
}

// Store keeps partners in PostgreSQL. Every query names the user, so that no caller reaches another
// user's partner by knowing its id or slug.
type Store struct {
	pool    *pgxpool.Pool
	keyring *Keyring
	guard   *Guard
}

// NewStore makes a Store.
func NewStore(cfg *StoreConfig) *Store {
	store := &Store{pool: cfg.Pool, keyring: cfg.Keyring, guard: cfg.Guard}
	if store.guard == nil {
		store.guard = NewGuard(&GuardConfig{})
	}
	return store
}

// querier is met by a pool and by a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// columns are what scan reads, in its order.
const columns = `id, user_id, partner_name, partner_slug, url, enabled_events, custom_payload_fields,
       request_headers, max_retries, rate_limit, max_in_flight, enabled, disabled_reason, paused_at, created_at, updated_at, secret_key_id, secret_ciphertext`

func scan(row pgx.CollectableRow) (*Partner, error) {
	var p Partner
	err := row.Scan(&p.ID, &p.UserID, &p.Name, &p.Slug, &p.URL, &p.EnabledEvents, &p.CustomPayloadFields,
		&p.RequestHeaders, &p.MaxRetries, &p.RateLimit, &p.MaxInFlight, &p.Enabled, &p.DisabledReason, &p.PausedAt, &p.CreatedAt, &p.UpdatedAt,
		&p.sealed.keyID, &p.sealed.ciphertext)
	return &p, err
}

// Create adds a partner of userID and returns it with its secret, which is generated if params has none;
// it can't be read again without the encryption key. Errors: [*ValidationError], [ErrSlugTaken], [ErrNoKey].
func (s *Store) Create(ctx context.Context, userID string, params *Params) (*Partner, Secret, error) {
	return s.create(ctx, s.pool, userID, params)
}

// CreateTx is [Store.Create] in the caller's transaction.
func (s *Store) CreateTx(ctx context.Context, tx pgx.Tx, userID string, params *Params) (*Partner, Secret, error) {
	return s.create(ctx, tx, userID, params)
}

func (s *Store) create(ctx context.Context, db querier, userID string, params *Params) (*Partner, Secret, error) {
	complete := *params
	if complete.CustomPayloadFields == nil {
		complete.CustomPayloadFields = json.RawMessage(`{}`)
	}
	if complete.Secret == "" {
		complete.Secret = GenerateSecret()
	}
	if err := complete.validate(userID, s.guard); err != nil {
		return nil, "", err
	}
	if err := complete.Secret.Validate(); err != nil {
		return nil, "", err
	}
	headers, err := complete.Headers.canonical()
	if err != nil {
		return nil, "", err
	}
	if s.keyring == nil {
		return nil, "", ErrNoKey
	}
	id := uuid.New()
	box, err := s.keyring.seal(id, &document{secrets: []ValidSecret{{Secret: complete.Secret}}, headers: headers.Secret})
	if err != nil {
		return nil, "", err
	}
	shown, err := headers.public().column()
	if err != nil {
		return nil, "", err
	}
	partner, err := queryOne(ctx, db, `
		insert into partner_webhooks
		       (id, user_id, partner_name, partner_slug, url, secret_key_id, secret_ciphertext, enabled_events, custom_payload_fields,
		        request_headers, max_retries, rate_limit, max_in_flight)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		returning `+columns,
		id, userID, complete.Name, complete.Slug, complete.URL, box.keyID, box.ciphertext, complete.EnabledEvents,
		string(complete.CustomPayloadFields), shown, complete.MaxRetries, complete.RateLimit, complete.MaxInFlight)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.ConstraintName == "partner_webhooks_user_id_partner_slug_key" {
		return nil, "", fmt.Errorf("adding partner %q: %w", complete.Slug, ErrSlugTaken)
	}
	if err != nil {
		return nil, "", fmt.Errorf("adding partner %q: %w", complete.Slug, err)
	}
	return partner, complete.Secret, nil
}

// Get reads a user's partner by its slug. Its error wraps [ErrNotFound] if there is none.
func (s *Store) Get(ctx context.Context, userID, slug string) (*Partner, error) {
	partner, err := queryOne(ctx, s.pool, `select `+columns+`
		  from partner_webhooks where user_id = $1 and partner_slug = $2`, userID, slug)
	return partner, reading(slug, err)
}

// Ref names a partner by its id, and says whose it is.
type Ref struct {
	UserID string
	ID     uuid.UUID
}

// GetMany reads partners, of any users. Those that do not exist, or are another user's, are missing from the result.
func (s *Store) GetMany(ctx context.Context, refs []Ref) (map[Ref]*Partner, error) {
	users, ids := make([]string, 0, len(refs)), make([]string, 0, len(refs))
	for _, ref := range refs {
		if utf8.ValidString(ref.UserID) && !strings.ContainsRune(ref.UserID, 0) { // else PostgreSQL can't even look for it
			users, ids = append(users, ref.UserID), append(ids, ref.ID.String())
		}
	}
	rows, err := s.pool.Query(ctx, getManyStatement, users, ids)
	if err != nil {
		return nil, fmt.Errorf("reading partners: %w", err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("reading partners: %w", err)
	}
	found := make(map[Ref]*Partner, len(list))
	for _, partner := range list {
		found[Ref{UserID: partner.UserID, ID: partner.ID}] = partner
	}
	return found, nil
}

// getManyStatement looks each partner up by its key: as a plain join PostgreSQL might read the whole table.
const getManyStatement = `
	select ` + columns + `
	  from unnest($1::text[], $2::uuid[]) as wanted (owner, partner_id)
	 cross join lateral (select ` + columns + ` from partner_webhooks where id = partner_id and user_id = owner offset 0) p`

// List reads all partners of a user in the order of their slugs.
func (s *Store) List(ctx context.Context, userID string) ([]*Partner, error) {
	rows, err := s.pool.Query(ctx, `select `+columns+`
		  from partner_webhooks where user_id = $1 order by partner_slug`, userID)
	if err != nil {
		return nil, fmt.Errorf("listing partners: %w", err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("listing partners: %w", err)
	}
	return list, nil
}

// Update changes what changes names and leaves the rest. Errors: [*ValidationError], [ErrNotFound], and with
// headers [ErrNoKey] and [ErrWrongKey].
func (s *Store) Update(ctx context.Context, userID, slug string, changes *Changes) (*Partner, error) {
	if err := s.validateChanges(changes); err != nil {
		return nil, err
	}
	var fields *string
	if changes.CustomPayloadFields != nil {
		text := string(changes.CustomPayloadFields)
		fields = &text
	}
	var partner *Partner
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := s.changeHeaders(ctx, tx, userID, slug, changes.Headers); err != nil {
			return err
		}
		var err error
		partner, err = queryOne(ctx, tx, `
			update partner_webhooks
			   set partner_name          = coalesce($3, partner_name),
			       url                   = coalesce($4, url),
			       enabled_events        = coalesce($5, enabled_events),
			       custom_payload_fields = coalesce($6::json, custom_payload_fields),
			       max_retries           = case when $7 then $8 else max_retries end,
			       rate_limit            = case when $9 then $10 else rate_limit end,
			       max_in_flight         = case when $11 then $12 else max_in_flight end,
			       updated_at            = now()
			 where user_id = $1 and partner_slug = $2
			returning `+columns,
			userID, slug, changes.Name, changes.URL, changes.EnabledEvents, fields,
			changes.MaxRetries != nil, changes.MaxRetries.value(), changes.RateLimit != nil, changes.RateLimit.value(),
			changes.MaxInFlight != nil, changes.MaxInFlight.value())
		return reading(slug, err)
	})
	return partner, err
}

func (s *Store) validateChanges(changes *Changes) error {
	if changes.Name != nil {
		if err := ValidateText("partner_name", *changes.Name, maxName); err != nil {
			return err
		}
	}
	if changes.URL != nil {
		if err := s.guard.validateURL(*changes.URL); err != nil {
			return err
		}
	}
	if changes.EnabledEvents != nil {
		if err := validateEnabledEvents(changes.EnabledEvents); err != nil {
			return err
		}
	}
	if changes.CustomPayloadFields != nil {
		if err := validateFields(changes.CustomPayloadFields); err != nil {
			return err
		}
	}
	return validateNumbers(changes.MaxRetries.value(), changes.RateLimit.value(), changes.MaxInFlight.value())
}

// Enable lets a partner receive again. Its error wraps [ErrNotFound] if there is none.
func (s *Store) Enable(ctx context.Context, userID, slug string) (*Partner, error) {
	partner, err := queryOne(ctx, s.pool, `
		update partner_webhooks
		   set enabled = true, disabled_reason = null, updated_at = now()
		 where user_id = $1 and partner_slug = $2
		returning `+columns, userID, slug)
	return partner, reading(slug, err)
}

// Disable stops a partner from receiving: no event is enqueued for it, and its waiting deliveries are
// cancelled when they come due. Errors: [*ValidationError] for the reason, [ErrNotFound].
func (s *Store) Disable(ctx context.Context, userID, slug, reason string) (*Partner, error) {
	if err := ValidateText("disabled_reason", reason, maxName); err != nil {
		return nil, err
	}
	partner, err := queryOne(ctx, s.pool, `
		update partner_webhooks
		   set enabled = false, disabled_reason = $3, updated_at = now()
		 where user_id = $1 and partner_slug = $2
		returning `+columns, userID, slug, reason)
	return partner, reading(slug, err)
}

// Pause holds a partner's deliveries back, without using tries; events are enqueued for it meanwhile. Its
// error wraps [ErrNotFound] if there is none.
func (s *Store) Pause(ctx context.Context, userID, slug string) (*Partner, error) {
	partner, err := queryOne(ctx, s.pool, `
		update partner_webhooks
		   set paused_at = coalesce(paused_at, now()), updated_at = now()
		 where user_id = $1 and partner_slug = $2
		returning `+columns, userID, slug)
	return partner, reading(slug, err)
}

// ResumeTx lets a paused partner's deliveries go again; package jobs releases those that were held back.
// Its error wraps [ErrNotFound] if there is none.
func (s *Store) ResumeTx(ctx context.Context, tx pgx.Tx, userID, slug string) (*Partner, error) {
	partner, err := queryOne(ctx, tx, `
		update partner_webhooks
		   set paused_at = null, updated_at = now()
		 where user_id = $1 and partner_slug = $2
		returning `+columns, userID, slug)
	return partner, reading(slug, err)
}

// DisableGone disables a partner whose endpoint answered 410 Gone, unless its URL has been changed since
// that request, and says whether it did.
func (s *Store) DisableGone(ctx context.Context, partner *Partner) (bool, error) {
	tag, err := s.pool.Exec(ctx, `
		update partner_webhooks
		   set enabled = false, disabled_reason = 'its endpoint answered 410 Gone', updated_at = now()
		 where user_id = $1 and id = $2 and url = $3 and enabled`, partner.UserID, partner.ID, partner.URL)
	if err != nil {
		return false, fmt.Errorf("disabling partner %q: %w", partner.Slug, err)
	}
	return tag.RowsAffected() > 0, nil
}

// Delete removes a partner for good; its waiting deliveries are cancelled when they come due. Its error
// wraps [ErrNotFound] if there is none.
func (s *Store) Delete(ctx context.Context, userID, slug string) (*Partner, error) {
	partner, err := queryOne(ctx, s.pool, `
		delete from partner_webhooks where user_id = $1 and partner_slug = $2 returning `+columns, userID, slug)
	return partner, reading(slug, err)
}

// invalidEncoding is the SQLSTATE of a text that no row can hold: it has a NUL, or is not UTF-8.
const invalidEncoding = "22021"

func queryOne(ctx context.Context, db querier, sql string, args ...any) (*Partner, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectExactlyOneRow(rows, scan)
}

// reading puts words around an error of reading or changing one partner.
func reading(name string, err error) error {
	var pgErr *pgconn.PgError
	unstorable := errors.As(err, &pgErr) && pgErr.Code == invalidEncoding
	if errors.Is(err, pgx.ErrNoRows) || unstorable {
		return fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err != nil {
		return fmt.Errorf("partner %q: %w", name, err)
	}
	return nil
}
