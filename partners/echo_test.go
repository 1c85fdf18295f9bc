package partners

import (
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// escapes are ways in which a partner writes what it repeats.
func escapes(text string) map[string]string {
	document, _ := json.Marshal([]string{text}) //nolint:errchkjson // text can always be encoded
	again, _ := json.Marshal(string(document))  //nolint:errchkjson // the same
	var unescaped strings.Builder
	encoder := json.NewEncoder(&unescaped)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode([]string{text}) //nolint:errchkjson // the same
	plain := strings.TrimSpace(unescaped.String())
	return map[string]string{
		"as it is": text, "JSON": string(document), "JSON in JSON": string(again), "JSON, < as it is": plain, "Go": strconv.Quote(text),
		"Go in Go": strconv.Quote(strconv.Quote(text)), "JSON of PHP": strings.ReplaceAll(plain, "/", `\/`),
		"a query": url.QueryEscape(text), "a path": url.PathEscape(text), "a query in a query": url.QueryEscape(url.QueryEscape(text)),
		"HTML": html.EscapeString(text), "HTML in HTML": html.EscapeString(html.EscapeString(text)), "HTML of PHP": strings.ReplaceAll(html.EscapeString(text), "&#34;", "&quot;"),
		"every punctuation mark in percents": escapePunctuation(text, "%%%02x"), "and as numbers": escapePunctuation(text, "&#x%X;"),
		"Python": "'" + strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), "'", `\'`) + "'",
	}
}

// escapePunctuation escapes all but letters and digits, and a few marks that hardly anything escapes.
func escapePunctuation(text, format string) string {
	var escaped strings.Builder
	for _, char := range []byte(text) {
		if strings.IndexByte(`"'\+/=&<>% :;,.!`, char) >= 0 {
			_, _ = fmt.Fprintf(&escaped, format, char)
		} else {
			escaped.WriteByte(char)
		}
	}
	return escaped.String()
}

func TestHideFindsEveryWayOfWriting(t *testing.T) {
	t.Parallel()

	const value = `k"e'y\\of +/=&<%: a;.!7`
	headers := Headers{Secret: map[string]Secret{"X-Api-Key": value, "X-Short": "k\"e'", "authorization": "Bearer abc/def+=="}}
	for name, written := range escapes(value) {
		shown := string(headers.hide([]byte("\xff before "+written+" after"), readLimit))
		require.Contains(t, shown, "[redacted]", "%s: %s", name, written)
		require.LessOrEqual(t, len(shown), len("\xff before '[\\\"\\\"[redacted]\\\"\\\"]' after"), "%s: %s gives %s", name, written, shown)
	}
	require.Equal(t, "invalid token [redacted], or [redacted]", string(headers.hide([]byte("invalid token abc%2Fdef%2b%3D%3D, or Bearer abc/def+=="), readLimit)))
	require.Equal(t, `key of a`, string(headers.hide([]byte(`key of a`), readLimit)))
	require.Equal(t, "\xff\x00", string(Headers{}.hide([]byte("\xff\x00"), readLimit)))
}

// No partner makes hiding slow, neither by its headers nor by its answer.
func TestHideTakesLittleTime(t *testing.T) {
	t.Parallel()

	headers := Headers{Secret: map[string]Secret{}}
	for i := range maxHeaders {
		headers.Secret[fmt.Sprint("X-", i)] = Secret(strings.Repeat("&%::", 70) + strconv.Itoa(i))
	}
	require.NoError(t, headers.validate())
	text := []byte(strings.Repeat("&%::", readLimit/4))
	start := time.Now()
	require.Equal(t, string(text), string(headers.hide(text, readLimit)))
	require.Less(t, time.Since(start), 5*time.Second)
}

// Whatever a value is made of, no answer shows it.
func FuzzHide(f *testing.F) {
	f.Add("a token", "before ", " after")
	f.Add(`"\+/=&<%25;`, `"`, "\xff")
	f.Add("%2F%252F", "%", "25")
	f.Add("&amp;&#38;", "&", ";")
	f.Add(`\\\\\\\\`, "", "")
	f.Add(`<\x41\u003c&`, `\`, `\`)
	f.Fuzz(func(t *testing.T, value, before, after string) {
		headers := Headers{Secret: map[string]Secret{"X-Key": Secret(value)}}
		if headers.validate() != nil || len(value) < minSecretBytes || len(before+after) > 1000 {
			return
		}
		for name, written := range escapes(value) {
			shown := string(headers.hide([]byte(before+"\n"+written+"\n"+after), len(before)+len(written)+len(after)+2))
			require.Contains(t, shown, redacted, "%s: %s", name, written)
			require.NotContains(t, strings.ReplaceAll(shown, redacted, "\n"), value)
		}
	})
}

// What is kept never ends inside of a value, and hiding brings nothing nearer from behind it.
func TestHideWhereTheTextIsCut(t *testing.T) {
	t.Parallel()

	value := strings.Repeat("0123456789abcdef", 300)
	headers := Headers{Secret: map[string]Secret{"X-Token": Secret(value)}}
	echo := []byte(strings.Repeat(value+", ", 30))[:readLimit]
	for _, keep := range []int{keptBody, keptBody + 1, len(value), len(value) - 1, 1} {
		shown := SafeText(headers.hide(echo, keep), keptBody)
		require.NotContains(t, shown, "0123456789", "%d", keep)
		require.Contains(t, shown, redacted)
	}
}
