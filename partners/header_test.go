package partners

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// printableASCII has every character that a value may have.
var printableASCII = func() string {
	var text strings.Builder
	for c := '!'; c <= '~'; c++ {
		text.WriteRune(c)
	}
	return strings.Replace(text.String(), "A", " ", 1) + "A"
}()

func plain(name, value string) Headers { return Headers{Plain: map[string]string{name: value}} }

// What Go refuses the database refuses too, whatever writes the row.
func TestHeaderRefused(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	bundle.add(t, "anna", acme())
	const (
		format, reserved, unique = "partner_webhooks_request_headers_format", "partner_webhooks_request_headers_reserved", "partner_webhooks_request_headers_unique"
		names, mustNot, value    = "must have names such as", "must not be set", "must have a value of printable ASCII"
	)
	for _, tt := range []struct {
		headers            Headers
		reason, constraint string
	}{
		{plain("Accept-Encoding", "gzip"), mustNot, reserved},
		{plain("Connection", "close"), mustNot, reserved},
		{plain("content-encoding", "gzip"), mustNot, reserved},
		{plain("Content-Length", "0"), mustNot, reserved},
		{plain("Content-Type", "text/plain"), mustNot, reserved},
		{plain("Date", "today"), mustNot, reserved},
		{plain("Expect", "100-continue"), mustNot, reserved},
		{plain("hOST", "another.example"), mustNot, reserved},
		{plain("Http2-Settings", "x"), mustNot, reserved},
		{plain("Keep-Alive", "x"), mustNot, reserved},
		{plain("Proxy-Authorization", "x"), mustNot, reserved},
		{plain("Proxy-Connection", "x"), mustNot, reserved},
		{plain("TE", "trailers"), mustNot, reserved},
		{plain("Trailer", "x"), mustNot, reserved},
		{plain("Transfer-Encoding", "chunked"), mustNot, reserved},
		{plain("Upgrade", "h2c"), mustNot, reserved},
		{plain("User-Agent", "x"), mustNot, reserved},
		{plain("webhook-signature", "v1,x"), mustNot, reserved},
		{plain("Webhook-Anything", "x"), mustNot, reserved},
		{Headers{Secret: map[string]Secret{"HOST": "x"}}, mustNot, reserved},

		{plain("", "x"), names, format},
		{plain("X Key", "x"), names, format},
		{plain("X-Key:", "x"), names, format},
		{plain(":path", "x"), names, format},
		{plain("X-Ké", "x"), names, format},
		{plain("X-Key\r\nHost", "x"), names, format},
		{plain("X-Key\x00", "x"), names, ""}, // no row can hold it
		{plain(`X"Key`, "x"), names, format},

		{plain("X-Key", ""), value, format},
		{plain("X-Key", " x"), value, format},
		{plain("X-Key", "x "), value, format},
		{plain("X-Key", "x\r\nHost: y"), value, format},
		{plain("X-Key", "x\n"), value, format},
		{plain("X-Key", "x\ry"), value, format},
		{plain("X-Key", "x\ty"), value, format},
		{plain("X-Key", "x\x00y"), value, ""},
		{plain("X-Key", "x\x7f"), value, format},
		{plain("X-Key", "ü"), value, format},
		{Headers{Secret: map[string]Secret{"X-Key": "leaky\r\nHost: y"}}, value, ""}, // sealed
		{Headers{Secret: map[string]Secret{"X-Key": ""}}, value, ""},

		{Headers{Plain: map[string]string{"X-Key": "x", "x-key": "y"}}, "must be given once", unique},
		{Headers{Plain: map[string]string{"X-A": "x", "X-B": "x"}, Secret: map[string]Secret{"x-b": "y"}}, "must be given once", unique},
		{Headers{Plain: numbered(21, "x")}, "must be at most 20, and are 21", format},
	} {
		err := tt.headers.validate()
		requireRefused(t, err, "request_headers", tt.reason)
		require.NotContains(t, err.Error(), "leaky")
		_, _, err = bundle.store.Create(t.Context(), "ben", acme(func(p *Params) { p.Headers = tt.headers }))
		requireRefused(t, err, "request_headers", tt.reason)
		_, err = bundle.store.Update(t.Context(), "anna", "acme-corp", &Changes{Headers: tt.headers})
		requireRefused(t, err, "request_headers", tt.reason)

		if tt.constraint != "" {
			column, err := tt.headers.public().column()
			require.NoError(t, err)
			_, err = bundle.pool.Exec(t.Context(), `update partner_webhooks set request_headers = $1`, column)
			var pgErr *pgconn.PgError
			require.ErrorAs(t, err, &pgErr, column)
			require.Equal(t, tt.constraint, pgErr.ConstraintName, column)
		}
	}
	requireRefused(t, plain(strings.Repeat("X", 129), "x").validate(), "request_headers", names)
	requireRefused(t, Headers{Plain: numbered(20, strings.Repeat("x", 310))}.validate(), "request_headers", "must have at most 6144 bytes in all")
}

// numbered are so many headers of one value.
func numbered(count int, value string) map[string]string {
	headers := map[string]string{}
	for i := range count {
		headers["X-"+strings.Repeat("n", i+1)] = value
	}
	return headers
}

func TestHeaderErrorNamesTheHeaderAndNoValue(t *testing.T) {
	t.Parallel()

	require.EqualError(t, plain("host", "x").validate(), `request_headers "host" must not be set: the request or its connection decides on it`)
	require.EqualError(t, plain("X-Key", "leaky\n").validate(),
		`request_headers "X-Key" must have a value of printable ASCII characters that neither begins nor ends with a space`)
	// A colon where "=" should be.
	require.EqualError(t, plain("Authorization: Bearer leaky", "").validate(),
		`request_headers "Authorization" must have names such as X-Api-Key, of at most 128 characters`)
}

func TestHeaderAccepted(t *testing.T) {
	t.Parallel()

	bundle := setup(t)
	for slug, headers := range map[string]Headers{
		"none":      {},
		"every":     {Plain: map[string]string{"X-Value": printableASCII, "!#$%&'*+-.^_`|~09azAZ": "x"}, Secret: map[string]Secret{"X-Secret": Secret(printableASCII)}},
		"look-like": {Plain: map[string]string{"X-Te": `{"te":"x","Host":null}`, "Xte": `,"x-te":`, "Tea": "x", "Hostname": "x", "Content": "x", "X-Content-Type": "x"}},
		"secret":    {Secret: map[string]Secret{"Authorization": "Bearer token", "Cookie": "a=b; c=d"}},
		"many":      {Plain: numbered(20, "x")},
		"long":      {Plain: map[string]string{strings.Repeat("X", maxHeaderName): "x", "X": strings.Repeat(`\`, maxHeadersBytes-maxHeaderName-2)}},
	} {
		partner, _, err := bundle.store.Create(t.Context(), "anna", acme(func(p *Params) { p.Slug, p.Headers = slug, headers }))
		require.NoError(t, err, slug)
		want, err := headers.canonical()
		require.NoError(t, err)
		requireHeaders(t, bundle, partner, want)
	}
}

func TestHeadersChanged(t *testing.T) {
	t.Parallel()

	before := Headers{Plain: map[string]string{"X-A": "1", "X-B": "2"}, Secret: map[string]Secret{"X-C": "3", "X-D": "4"}}
	for name, tt := range map[string]struct{ changes, want Headers }{
		"nothing": {Headers{}, before},
		"plain ones": {
			Headers{Plain: map[string]string{"X-E": "5"}},
			Headers{Plain: map[string]string{"X-E": "5"}, Secret: before.Secret},
		},
		"secret ones": {
			Headers{Secret: map[string]Secret{"X-E": "5"}},
			Headers{Plain: before.Plain, Secret: map[string]Secret{"X-E": "5"}},
		},
		"a secret keeps its value": {
			Headers{Secret: map[string]Secret{"x-c": "", "X-E": "5"}},
			Headers{Plain: before.Plain, Secret: map[string]Secret{"x-c": "3", "X-E": "5"}},
		},
		"there is none to keep": {
			Headers{Secret: map[string]Secret{"X-A": ""}},
			Headers{Plain: map[string]string{"X-B": "2"}, Secret: map[string]Secret{"X-A": ""}},
		},
		"from plain to secret": {
			Headers{Secret: map[string]Secret{"x-a": "5"}},
			Headers{Plain: map[string]string{"X-B": "2"}, Secret: map[string]Secret{"x-a": "5"}},
		},
		"from secret to plain": {
			Headers{Plain: map[string]string{"x-c": "5"}},
			Headers{Plain: map[string]string{"x-c": "5"}, Secret: map[string]Secret{"X-D": "4"}},
		},
		"none": {
			Headers{Plain: map[string]string{}, Secret: map[string]Secret{}},
			Headers{Plain: map[string]string{}, Secret: map[string]Secret{}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, before.changed(tt.changes))
		})
	}
}
