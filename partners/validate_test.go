package partners

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidateText(t *testing.T) {
	t.Parallel()

	for _, value := range []string{"a", "Ünïcode 😀", strings.Repeat("ü", 10), " "} {
		require.NoError(t, ValidateText("name", value, 10), value)
	}
	for value, reason := range map[string]string{
		"":                       "must not be empty",
		"\xff":                   "must be valid UTF-8",
		strings.Repeat("ü", 11):  "at most 10 characters",
		"nul\x00":                "control characters",
		"two\nlines":             "control characters",
		"C1 \u0085":              "control characters",
		"escape \x1b[31m":        "at most 10 characters",
		"delete\x7f":             "control characters",
		strings.Repeat("x", 1e6): "at most 10 characters",
	} {
		requireRefused(t, ValidateText("name", value, 10), "name", reason)
	}
}

func TestValidationErrorIsCutShort(t *testing.T) {
	t.Parallel()

	err := ValidateText("name", strings.Repeat("ü", 1000), 10)
	require.EqualError(t, err, `name "`+strings.Repeat("ü", 80)+`…" must have at most 10 characters`)
	require.EqualError(t, ValidateText("name", "", 10), "name must not be empty")
}

func TestValidateEventType(t *testing.T) {
	t.Parallel()

	for _, accepted := range []string{"call", "call.completed", "a.b.c.d", "A_1.b2", "_", "1", strings.Repeat("x", MaxEventType)} {
		require.NoError(t, ValidateEventType(accepted), accepted)
	}
	for _, refused := range []string{
		"", ".", "call.", ".call", "call..completed", "call.*", "*", "call completed", "call-completed", "call.completed\n",
		"anruf.schön", "call/completed", "call\x00", strings.Repeat("x", MaxEventType+1),
	} {
		requireRefused(t, ValidateEventType(refused), "event_type", "must")
	}
	for _, reserved := range []string{EventPartnerDisabled, EventDeliveryExhausted, EventPartnerFailing, EventPartnerRecovered} {
		require.EqualError(t, ValidateEventType(reserved), `event_type "`+reserved+`" is reserved for what webhook-worker itself tells`)
		require.NoError(t, ValidateEventType(reserved+".x"))
		require.NoError(t, validateEnabledEvents([]string{reserved}), "it can be subscribed to")
	}
}

func TestValidateSlug(t *testing.T) {
	t.Parallel()

	for _, accepted := range []string{"a", "acme", "acme-corp", "acme_corp-2", "1", "0-0", strings.Repeat("x", maxSlug)} {
		require.NoError(t, validateSlug(accepted), accepted)
	}
	for _, refused := range []string{
		"", "-", "-acme", "acme-", "acme--corp", "acme-_corp", "_acme", "Acme", "acme corp", "acme.corp", "acme/corp",
		"acmé", "acme\n", "acme\x00", strings.Repeat("x", maxSlug+1),
	} {
		requireRefused(t, validateSlug(refused), "partner_slug", "must be lower-case letters")
	}
}

func TestValidateURL(t *testing.T) {
	t.Parallel()

	for _, accepted := range []string{
		"https://example.com", "https://example.com/", "https://example.com/a/b?c=d&e=%20", "https://example.com:8443/x",
		"https://93.184.215.14/hook", "https://[2606:4700:4700::1111]:443/", "https://bücher.example/ä", "https://example.com:9999", "https://example.com./",
		"https://example.com/@user:not-a-password", "https://example.com/" + strings.Repeat("x", maxURL-20),
	} {
		require.NoError(t, NewGuard(&GuardConfig{}).validateURL(accepted), accepted)
	}
	for text, reason := range map[string]string{
		"":                                                   "must not be empty",
		"/webhooks":                                          "must be an absolute URL",
		"example.com/webhooks":                               "must be an absolute URL",
		"https:///path":                                      "must be an absolute URL",
		"https://":                                           "must be an absolute URL",
		"https://:443/":                                      "must be an absolute URL",
		"https:example.com":                                  "must be an absolute URL",
		"mailto:someone@example.com":                         "must be an absolute URL",
		"https://exa mple.com/":                              "must be an absolute URL",
		"https://example.com/%zz":                            "must be an absolute URL",
		"https://example.com:port/":                          "must be an absolute URL",
		"https://[::1":                                       "must be an absolute URL",
		`https://example.com\@evil.test/`:                    "must be an absolute URL",
		"//example.com/":                                     "must begin with https://",
		"ftp://example.com/":                                 "must begin with https://",
		"file://localhost/etc/passwd":                        "must begin with https://",
		"HTTPS://example.com/":                               "must begin with https://", // the database's constraint is the same
		"http://example.com/":                                "WEBHOOK_ALLOW_HTTP",
		"https://someone@example.com/":                       "must not contain a user name",
		"https://a:b@example.com/":                           "must not contain a user name",
		"https://example.com/#":                              "must not contain a fragment",
		"https://example.com/#top":                           "must not contain a fragment",
		"https://example.com/a b":                            "must not contain spaces",
		"https://example.com/?a= b":                          "must not contain spaces",
		"https://example.com/\u00a0":                         "must not contain spaces",
		"https://example.com/\n":                             "must not contain control characters",
		"https://example.com/\x00":                           "must not contain control characters",
		"https://example.com/\xff":                           "must be valid UTF-8",
		"https://example.com:/":                              "must have a port between 1 and 65535",
		"https://example.com:0/":                             "must have a port between 1 and 65535",
		"https://example.com:65536/":                         "must have a port between 1 and 65535",
		"https://example.com:" + strings.Repeat("9", 30):     "must have a port between 1 and 65535",
		"https://example.com/" + strings.Repeat("x", maxURL): "at most 2048 characters",
	} {
		requireRefused(t, NewGuard(&GuardConfig{}).validateURL(text), "url", reason)
	}

	require.NoError(t, NewGuard(&GuardConfig{AllowHTTP: true}).validateURL("http://example.com/"))
	requireRefused(t, NewGuard(&GuardConfig{AllowHTTP: true}).validateURL("ftp://example.com/"), "url", "must begin with https://")
}

func TestValidateURLKeepsPasswordsOutOfItsErrors(t *testing.T) {
	t.Parallel()

	for _, text := range []string{
		"https://someone:hunter2@example.com/",
		"ftp://someone:hunter2@example.com/",
		"https:someone:hunter2@example.com/",
		"https://someone:hunter2#@example.com/",
		"https://someone:hunter2@example.com/\n",
		"https://someone:hunter2\n@example.com/",
		"https://someone:hunter2@example.com/" + strings.Repeat("x", maxURL),
		"https://someone:hunter2" + strings.Repeat("x", maxURL) + "@example.com/",
	} {
		err := NewGuard(&GuardConfig{AllowHTTP: true}).validateURL(text)
		requireRefused(t, err, "url", "must")
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestValidateEnabledEvents(t *testing.T) {
	t.Parallel()

	many := make([]string, maxEvents)
	for i := range many {
		many[i] = "call.completed"
	}
	for _, accepted := range [][]string{
		{"*"},
		{"call.completed", "call.*", "a.b.*"},
		{strings.Repeat("x", MaxEventType)},
		{strings.Repeat("x", MaxEventType-2) + ".*"},
		many,
	} {
		require.NoError(t, validateEnabledEvents(accepted), accepted)
	}
	for _, refused := range [][]string{
		nil,
		{},
		{""},
		{"call.completed", ""},
		{".*"},
		{"**"},
		{"*.completed"},
		{"call*"},
		{"call.*.completed"},
		{"call.*.*"},
		{"call.*\n"},
		{"call completed"},
		{strings.Repeat("x", MaxEventType+1)},
		{strings.Repeat("x", MaxEventType-1) + ".*"},
		append([]string{"call.completed"}, many...),
	} {
		requireRefused(t, validateEnabledEvents(refused), "enabled_events", "must")
	}
}

func TestValidateNumbers(t *testing.T) {
	t.Parallel()

	require.NoError(t, validateNumbers(nil, nil, nil))
	for _, accepted := range []int{0, 1, 100} {
		require.NoError(t, validateNumbers(&accepted, nil, nil))
	}
	for _, refused := range []int{-1, 101, 1 << 40} {
		requireRefused(t, validateNumbers(&refused, nil, nil), "max_retries", "between 0 and 100")
	}
	for _, accepted := range []int{1, 10_000} {
		require.NoError(t, validateNumbers(nil, &accepted, &accepted))
	}
	for _, refused := range []int{-1, 0, 10_001} {
		requireRefused(t, validateNumbers(nil, &refused, nil), "rate_limit", "between 1 and 10000")
		requireRefused(t, validateNumbers(nil, nil, &refused), "max_in_flight", "between 1 and 10000")
	}
}

func TestParamsValidate(t *testing.T) {
	t.Parallel()

	require.NoError(t, acme().validate("anna", NewGuard(&GuardConfig{})))
	requireRefused(t, acme().validate("", NewGuard(&GuardConfig{})), "user_id", "must not be empty")
	requireRefused(t, acme().validate(strings.Repeat("u", MaxUserID+1), NewGuard(&GuardConfig{})), "user_id", "at most 255")

	tooMany := -1
	for field, change := range map[string]func(*Params){
		"partner_name":          func(p *Params) { p.Name = strings.Repeat("n", maxName+1) },
		"partner_slug":          func(p *Params) { p.Slug = "Acme" },
		"url":                   func(p *Params) { p.URL = "http://example.com" },
		"enabled_events":        func(p *Params) { p.EnabledEvents = nil },
		"custom_payload_fields": func(p *Params) { p.CustomPayloadFields = json.RawMessage(`[]`) },
		"max_retries":           func(p *Params) { p.MaxRetries = &tooMany },
	} {
		requireRefused(t, acme(change).validate("anna", NewGuard(&GuardConfig{})), field, "must")
	}
}
