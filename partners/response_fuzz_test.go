package partners

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// Whatever a partner answers is a text and a header that PostgreSQL takes, and gives back as they were.
func FuzzSafeText(f *testing.F) {
	pool := testdb.Fuzz(f, testdb.NewEmpty)
	for _, seed := range []struct {
		foreign string
		limit   uint16
	}{
		{"hello", 3},
		{"\x00\xff😀", 5},
		{"\xf0\x9f\x98\x80\xf0\x9f", 6},
		{"\x80\x80\x80\x80\x80", 4},
		{"\xed\xa0\x80\xef\xbf\xbf\x7f", 9},
		{"\\u0000\"\\\u2028\ufeff", 100},
		{strings.Repeat("é\xc3", 300), keptHeader},
	} {
		f.Add([]byte(seed.foreign), seed.limit)
	}
	f.Fuzz(func(t *testing.T, foreign []byte, limit uint16) {
		before := string(foreign)
		text := SafeText(foreign, int(limit))
		require.Equal(t, before, string(foreign), "its argument is not written to")
		requireStorable(t, text, int(limit))
		require.Equal(t, text, SafeText([]byte(text), int(limit)), "what is clean stays as it is")
		if utf8.Valid(foreign) && !strings.Contains(before, "\x00") {
			require.True(t, strings.HasPrefix(before, text))
			require.Greater(t, len(text)+utf8.UTFMax, min(len(foreign), int(limit)), "no more is cut than one character")
		}

		headers := usefulHeaders(http.Header{"Location": {before}, "X-Request-Id": {text}, "Set-Cookie": {before}}, Headers{})
		require.NotContains(t, headers, "set-cookie")
		for _, value := range headers {
			requireStorable(t, value, keptHeader)
		}
		document, err := json.Marshal(headers)
		require.NoError(t, err)

		var (
			stored        string
			storedHeaders map[string]string
		)
		require.NoError(t, pool.QueryRow(t.Context(), `select $1::text, $2::json::jsonb`, text, string(document)).Scan(&stored, &storedHeaders))
		require.Equal(t, text, stored)
		require.Equal(t, headers, storedHeaders)
	})
}

// requireStorable checks that text fits into a column of PostgreSQL, and into limit bytes.
func requireStorable(t *testing.T, text string, limit int) {
	t.Helper()

	require.LessOrEqual(t, len(text), limit)
	require.True(t, utf8.ValidString(text))
	require.NotContains(t, text, "\x00")
}
