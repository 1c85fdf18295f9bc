package partners

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

func TestUpdate(t *testing.T) {
	t.Parallel()

	text := func(s string) *string { return &s }
	number := func(n int) *int { return &n }
	for name, tt := range map[string]struct {
		changes Changes
		want    func(*Partner)
	}{
		"nothing": {Changes{}, func(*Partner) {}},
		"name":    {Changes{Name: text("Another")}, func(p *Partner) { p.Name = "Another" }},
		"url":     {Changes{URL: text("https://another.example/")}, func(p *Partner) { p.URL = "https://another.example/" }},
		"events":  {Changes{EnabledEvents: []string{"*"}}, func(p *Partner) { p.EnabledEvents = []string{"*"} }},
		"fields": {
			Changes{CustomPayloadFields: json.RawMessage("{ \"b\":2, \"a\":1 }")},
			func(p *Partner) { p.CustomPayloadFields = json.RawMessage("{ \"b\":2, \"a\":1 }") },
		},
		"no fields":         {Changes{CustomPayloadFields: json.RawMessage(`{}`)}, func(p *Partner) { p.CustomPayloadFields = json.RawMessage(`{}`) }},
		"max_retries":       {Changes{MaxRetries: &Override{number(100)}}, func(p *Partner) { p.MaxRetries = number(100) }},
		"no retries":        {Changes{MaxRetries: &Override{number(0)}}, func(p *Partner) { p.MaxRetries = number(0) }},
		"clear max_retries": {Changes{MaxRetries: &Override{}}, func(p *Partner) { p.MaxRetries = nil }},
		"rate_limit":        {Changes{RateLimit: &Override{number(7)}}, func(p *Partner) { p.RateLimit = number(7) }},
		"clear rate_limit":  {Changes{RateLimit: &Override{}}, func(p *Partner) { p.RateLimit = nil }},
		"max_in_flight":     {Changes{MaxInFlight: &Override{number(3)}}, func(p *Partner) { p.MaxInFlight = number(3) }},
		"several": {Changes{Name: text("Another"), EnabledEvents: []string{"a", "b.*"}}, func(p *Partner) {
			p.Name, p.EnabledEvents = "Another", []string{"a", "b.*"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			bundle := setup(t)
			want, secret := bundle.add(t, "anna", acme(func(p *Params) { p.MaxRetries = number(3) }))
			bens, _ := bundle.add(t, "ben", acme())
			updated, err := bundle.store.Update(t.Context(), "anna", "acme-corp", &tt.changes)
			require.NoError(t, err)

			tt.want(want)
			require.True(t, updated.UpdatedAt.After(want.UpdatedAt))
			want.UpdatedAt = updated.UpdatedAt
			require.Equal(t, want, updated)
			requireSigns(t, bundle, updated, secret)

			unchanged, err := bundle.store.Get(t.Context(), "ben", "acme-corp")
			require.NoError(t, err)
			require.Equal(t, bens, unchanged)
		})
	}
}

func TestUpdateRefuses(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	partner, _ := bundle.add(t, "anna", acme())
	long, insecure, negative := strings.Repeat("n", maxName+1), "http://example.com", -1
	for field, changes := range map[string]*Changes{
		"partner_name":          {Name: &long},
		"url":                   {URL: &insecure},
		"enabled_events":        {EnabledEvents: []string{}},
		"custom_payload_fields": {CustomPayloadFields: json.RawMessage(`null`)},
		"max_retries":           {MaxRetries: &Override{&negative}},
		"rate_limit":            {RateLimit: &Override{&negative}},
		"max_in_flight":         {MaxInFlight: &Override{&negative}},
	} {
		_, err := bundle.store.Update(t.Context(), "anna", "acme-corp", changes)
		requireRefused(t, err, field, "must")
	}
	unchanged, err := bundle.store.Get(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	require.Equal(t, partner, unchanged)
}

func TestDisableAndEnable(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	bundle.add(t, "anna", acme())
	disabled, err := bundle.store.Disable(t.Context(), "anna", "acme-corp", "paused by its owner")
	require.NoError(t, err)
	require.False(t, disabled.Enabled)
	require.Equal(t, "paused by its owner", *disabled.DisabledReason)

	again, err := bundle.store.Disable(t.Context(), "anna", "acme-corp", "another reason")
	require.NoError(t, err)
	require.Equal(t, "another reason", *again.DisabledReason)

	enabled, err := bundle.store.Enable(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	require.True(t, enabled.Enabled)
	require.Nil(t, enabled.DisabledReason)

	for _, reason := range []string{"", "two\nlines", strings.Repeat("x", maxName+1)} {
		_, err = bundle.store.Disable(t.Context(), "anna", "acme-corp", reason)
		requireRefused(t, err, "disabled_reason", "must")
	}
}

func TestDisableGone(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	seen, _ := bundle.add(t, "anna", acme())
	bundle.add(t, "ben", acme())
	another := "https://another.example/"
	_, err := bundle.store.Update(t.Context(), "anna", "acme-corp", &Changes{URL: &another})
	require.NoError(t, err)

	// The answer came from the URL before the change.
	disable := func(partner *Partner) bool {
		disabled, err := bundle.store.DisableGone(t.Context(), partner)
		require.NoError(t, err)
		return disabled
	}
	require.False(t, disable(seen))
	current, err := bundle.store.Get(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	require.True(t, current.Enabled)

	require.True(t, disable(current))
	gone, err := bundle.store.Get(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	require.False(t, gone.Enabled)
	require.Equal(t, "its endpoint answered 410 Gone", *gone.DisabledReason)

	// A reason that somebody gave stays.
	_, err = bundle.store.Disable(t.Context(), "anna", "acme-corp", "paused by its owner")
	require.NoError(t, err)
	require.False(t, disable(gone))
	gone, err = bundle.store.Get(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	require.Equal(t, "paused by its owner", *gone.DisabledReason)

	_, err = bundle.store.Delete(t.Context(), "anna", "acme-corp")
	require.NoError(t, err)
	require.False(t, disable(gone))
	bens, err := bundle.store.Get(t.Context(), "ben", "acme-corp")
	require.NoError(t, err)
	require.True(t, bens.Enabled)
}

// What another program writes around validation is refused by the database.
func TestDatabaseConstraints(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	bundle.add(t, "anna", acme())
	for _, tt := range []struct{ set, constraint string }{
		{`user_id = ''`, "partner_webhooks_user_id_length"},
		{`user_id = repeat('u', 256)`, "partner_webhooks_user_id_length"},
		{`partner_name = ''`, "partner_webhooks_partner_name_length"},
		{`partner_name = repeat('ü', 201)`, "partner_webhooks_partner_name_length"},
		{`partner_slug = ''`, "partner_webhooks_partner_slug_format"},
		{`partner_slug = 'Acme'`, "partner_webhooks_partner_slug_format"},
		{`partner_slug = 'acme--corp'`, "partner_webhooks_partner_slug_format"},
		{`partner_slug = E'acme\n'`, "partner_webhooks_partner_slug_format"},
		{`partner_slug = repeat('s', 64)`, "partner_webhooks_partner_slug_format"},
		{`url = ''`, "partner_webhooks_url_format"},
		{`url = 'ftp://example.com'`, "partner_webhooks_url_format"},
		{`url = 'HTTPS://example.com'`, "partner_webhooks_url_format"},
		{`url = E'x\nhttps://example.com'`, "partner_webhooks_url_format"},
		{`url = 'https://' || repeat('x', 2041)`, "partner_webhooks_url_format"},
		{`enabled_events = '{}'`, "partner_webhooks_enabled_events_count"},
		{`enabled_events = array_fill('*'::text, array[101])`, "partner_webhooks_enabled_events_count"},
		{`custom_payload_fields = '[]'`, "partner_webhooks_custom_payload_fields_object"},
		{`custom_payload_fields = 'null'`, "partner_webhooks_custom_payload_fields_object"},
		{`custom_payload_fields = '"{}"'`, "partner_webhooks_custom_payload_fields_object"},
		{`request_headers = '[]'`, "partner_webhooks_request_headers_format"},
		{`request_headers = 'null'`, "partner_webhooks_request_headers_format"},
		{`request_headers = '{"X-Key": "x"}'`, "partner_webhooks_request_headers_format"},
		{`request_headers = '{"X-Key":1}'`, "partner_webhooks_request_headers_format"},
		{`request_headers = '{"X-Key":"\u000d"}'`, "partner_webhooks_request_headers_format"},
		{`request_headers = '{"X-A":null,"Webhook-Id":null}'`, "partner_webhooks_request_headers_reserved"},
		{`request_headers = '{"X-A":null,"X-B":"x","x-a":"y"}'`, "partner_webhooks_request_headers_unique"},
		{`request_headers = ('{"X-A":"' || repeat('x', 16384) || '"}')::json`, "partner_webhooks_request_headers_size"},
		{`max_retries = -1`, "partner_webhooks_max_retries_range"},
		{`max_retries = 101`, "partner_webhooks_max_retries_range"},
		{`disabled_reason = 'but enabled'`, "partner_webhooks_disabled_reason_if_disabled"},
	} {
		_, err := bundle.pool.Exec(t.Context(), "update partner_webhooks set "+tt.set)
		var pgErr *pgconn.PgError
		require.ErrorAs(t, err, &pgErr, tt.set)
		require.Equal(t, tt.constraint, pgErr.ConstraintName, tt.set)
	}
	for _, column := range []string{
		"id", "user_id", "partner_name", "partner_slug", "url", "secret_ciphertext", "secret_key_id", "enabled_events",
		"custom_payload_fields", "request_headers", "enabled", "created_at", "updated_at",
	} {
		_, err := bundle.pool.Exec(t.Context(), "update partner_webhooks set "+column+" = null")
		require.ErrorContains(t, err, "23502", "%s: not_null_violation", column)
	}
}
