package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// canary is a secret that must not show, in any of the forms that programs give bytes.
type canary struct {
	name  string
	text  string
	forms map[string]string // by what they are called
}

// newCanary knows a secret by its text and, where that holds base64, by the bytes that it stands for.
func newCanary(name, text string) canary {
	c := canary{name: name, text: text, forms: map[string]string{}}
	c.add("", text)
	encoded := strings.TrimPrefix(strings.TrimPrefix(text, "whsec_"), "whsk_")
	if key, err := base64.StdEncoding.DecodeString(encoded); err == nil {
		c.add("bytes of the key, ", string(key))
		if encoded != text {
			c.add("without its prefix, ", encoded)
		}
	}
	return c
}

func (c *canary) add(what, text string) {
	c.forms[what+"as it is"] = text
	c.forms[what+"in hex"] = hex.EncodeToString([]byte(text))
	c.forms[what+"in upper-case hex"] = strings.ToUpper(hex.EncodeToString([]byte(text)))
	c.forms[what+"as numbers"] = strings.Trim(fmt.Sprintf("%d", []byte(text)), "[]")
	c.forms[what+"in a query"] = url.QueryEscape(text)
	c.forms[what+"in a path"] = url.PathEscape(text)
	c.forms[what+"in HTML"] = html.EscapeString(text)
	for offset := range 3 {
		c.forms[what+"in base64 from byte "+strconv.Itoa(offset)] = base64From(base64.RawStdEncoding, text, offset)
		c.forms[what+"in base64 of URLs from byte "+strconv.Itoa(offset)] = base64From(base64.RawURLEncoding, text, offset)
	}
	escapes := map[string]func(string) string{
		"JSON": func(s string) string { return inner(jsonOf(s, true)) },
		"JSON without HTML": func(s string) string {
			return inner(jsonOf(s, false))
		},
		"Go":            func(s string) string { return inner(strconv.Quote(s)) },
		"Go's ASCII":    func(s string) string { return inner(strconv.QuoteToASCII(s)) },
		"SQL":           func(s string) string { return strings.ReplaceAll(s, "'", "''") },
		"an array (PG)": func(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) },
	}
	for name, escape := range escapes {
		c.forms[what+"in "+name] = escape(text)
		for outer, again := range escapes {
			c.forms[what+"in "+name+" in "+outer] = again(escape(text))
		}
	}
}

// base64From is what of a text shows in the base64 of a document that has it at an offset.
func base64From(encoding *base64.Encoding, text string, offset int) string {
	const bitsOfByte, bitsOfChar = 8, 6
	encoded := encoding.EncodeToString([]byte(strings.Repeat("-", offset) + text))
	first := (offset*bitsOfByte + bitsOfChar - 1) / bitsOfChar
	return encoded[first : (offset+len(text))*bitsOfByte/bitsOfChar]
}

func jsonOf(text string, escapeHTML bool) string {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(escapeHTML)
	_ = encoder.Encode(text) //nolint:errchkjson // text can always be encoded
	return strings.TrimSpace(buffer.String())
}

// inner is a quoted text without its quotes.
func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// in is the form in which the canary is in a text; empty if it is not.
func (c *canary) in(text string) string {
	var found []string
	for name, form := range c.forms {
		if strings.Contains(text, form) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return strings.Join(found, ", ")
}

func TestCanariesAreFound(t *testing.T) {
	t.Parallel()
	const text = `raw "canary" \+/=&<%ü '7f3a`
	c := newCanary("raw", text)
	document, err := json.Marshal(map[string]string{"a": text})
	require.NoError(t, err)
	for name, shown := range map[string]string{
		"plain":          "x" + text + "y",
		"JSON":           string(document),
		"JSON in a log":  fmt.Sprintf("msg=%q", document),
		"JSON in JSON":   jsonOf(string(document), true),
		"%q":             fmt.Sprintf("%q", text),
		"%+q":            fmt.Sprintf("%+q", text),
		"%x":             fmt.Sprintf("%x", text),
		"%X":             fmt.Sprintf("%X", []byte(text)),
		"%v of bytes":    fmt.Sprintf("%v", []byte("a"+text+"b")),
		"query":          "https://h/?q=" + url.Values{"a": {text}}.Encode(),
		"path":           (&url.URL{Path: "/" + text}).JoinPath(url.PathEscape(text)).String(),
		"HTML":           html.EscapeString("<b>" + text),
		"base64":         base64.StdEncoding.EncodeToString([]byte("a" + text)),
		"base64, 2":      base64.URLEncoding.EncodeToString([]byte("ab" + text + "cd")),
		"base64 of JSON": base64.StdEncoding.EncodeToString([]byte("user:" + text + "\n")),
		"SQL":            "select '" + strings.ReplaceAll(text, "'", "''") + "'",
	} {
		require.NotEmpty(t, c.in(shown), "%s: %s", name, shown)
	}
	require.Empty(t, c.in(`raw "canary" and nothing else`))

	key := newCanary("key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	require.NotEmpty(t, key.in("\\x31f290f6bf06298aab4f08d43c3f082cf648a362da2da4b0"))
	require.NotEmpty(t, key.in("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	require.NotEmpty(t, key.in(base64.StdEncoding.EncodeToString([]byte(`[{"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]`))))
}
