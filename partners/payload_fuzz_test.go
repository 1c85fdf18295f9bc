package partners

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// A body is the payload's members as they are written, then those of the partner whose names are not taken.
// PostgreSQL agrees with us about what is JSON: what is enqueued by SQL is rendered without another look.
func FuzzRenderBody(f *testing.F) {
	pool := testdb.Fuzz(f, testdb.NewEmpty)
	f.Add(`{"zebra":1,"alpha":2.50,"big":12345678901234567890}`, `{"brand":"AcmeVoice"}`)
	f.Add(`{}`, `{"a":1}`)
	f.Add("\n{ \"a\" : [ 1 , {} ] , \"a\" : \"}\" }\n", `{"\u0061":1,"b":"\"}"}`)
	f.Add(`{"\ud800\u0061":1,"😀":2}`, `{"\ud83d\ude00":1,"\ud800b":2,"":{}}`)
	f.Add(`{"a":-0.0e+1,"\u0000":"\u0000\/"}`, `{"\u0000":true,"a":null,"A":1E400}`)
	f.Add("{\"\u2028\ufeff\":01}", "\v{}")
	f.Fuzz(func(t *testing.T, payload, fields string) {
		for _, text := range []string{payload, fields} {
			if depth([]byte(text)) <= maxDepth && len(text) <= MaxPayload {
				require.Equal(t, isObject(t, pool, text), ValidatePayload(json.RawMessage(text)) == nil, "PostgreSQL's word on %q", text)
			}
		}
		if ValidatePayload(json.RawMessage(payload)) != nil || validateFields(json.RawMessage(fields)) != nil {
			return
		}
		body := string(RenderBody(json.RawMessage(payload), json.RawMessage(fields)))
		require.NoError(t, validateObject([]byte(body)))

		own := members(t, payload)
		want := own
		taken := map[string]bool{}
		for _, member := range own {
			taken[member.name] = true
		}
		for _, member := range members(t, fields) {
			if !taken[member.name] {
				want = append(want, member)
			}
		}
		require.Equal(t, want, members(t, body))
		if len(want) == len(own) {
			require.Equal(t, payload, body)
			return
		}
		head := strings.TrimRight(payload[:strings.LastIndex(payload, "}")], " \t\r\n")
		require.True(t, strings.HasPrefix(body, head), "not a byte of the payload changes")
	})
}

// isObject says whether a column of type json takes the text for an object.
func isObject(t *testing.T, pool *pgxpool.Pool, text string) bool {
	t.Helper()

	var kind string
	err := pool.QueryRow(t.Context(), `select json_typeof(convert_from($1, 'UTF8')::json)`, []byte(text)).Scan(&kind)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && (pgErr.Code == invalidEncoding || pgErr.Code == "22P02") {
		return false
	}
	require.NoError(t, err)
	return kind == "object"
}

// member is a name and its value as written, and the name decoded.
type member struct{ name, rawName, rawValue string }

// members reads an object with the standard library, which is slower than RenderBody's reader.
func members(t *testing.T, object string) []member {
	t.Helper()

	decoder := json.NewDecoder(strings.NewReader(object))
	_, err := decoder.Token()
	require.NoError(t, err)
	var list []member
	for decoder.More() {
		start := decoder.InputOffset()
		name, err := decoder.Token()
		require.NoError(t, err)
		rawName := bytes.TrimLeft([]byte(object[start:decoder.InputOffset()]), ", \t\r\n")
		var value json.RawMessage
		require.NoError(t, decoder.Decode(&value))
		list = append(list, member{name: name.(string), rawName: string(rawName), rawValue: string(value)})
	}
	return list
}
