package partners

import (
	"bytes"
	"html"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// hide takes the secret values out of a text, such as the answer of a partner that repeats the request, however
// the partner has escaped them: for JSON, URLs or HTML, also twice. What it does takes time in proportion to the
// text, whatever that and the values are.
//
// Of the text only the first bytes are returned, as many as keep says: what follows is looked at, so that a value which
// goes on beyond them is found.
func (h Headers) hide(text []byte, keep int) []byte {
	return hideValues(h.repeatable(), text, keep)
}

// repeatable are the secret values as partners repeat them.
func (h Headers) repeatable() []string {
	var values []string
	for name, secret := range h.Secret {
		values = append(values, secret.Reveal())
		// Partners complain of a token without the scheme before it.
		if _, token, found := strings.Cut(secret.Reveal(), " "); found && http.CanonicalHeaderKey(name) == "Authorization" {
			values = append(values, token)
		}
	}
	return values
}

// hideIn takes the secret values out of an error: one of an answer that is not HTTP quotes a line of it, or a word.
func (h Headers) hideIn(err error) error {
	const shortest = 6 // of the words that are hidden
	values := h.repeatable()
	for _, value := range values {
		for word := range strings.FieldsSeq(value) {
			if len(word) >= shortest {
				values = append(values, word)
			}
		}
	}
	text := err.Error()
	shown := string(hideValues(values, []byte(text), len(text)))
	if shown == text {
		return err
	}
	return &hiddenError{text: shown, err: err}
}

// hiddenError is an error in other words.
type hiddenError struct {
	text string
	err  error
}

func (e *hiddenError) Error() string { return e.text }
func (e *hiddenError) Unwrap() error { return e.err }

func hideValues(values []string, text []byte, keep int) []byte {
	if len(values) == 0 {
		return text[:min(keep, len(text))]
	}
	var spans []span
	const twice = 2
	for _, decoded := range newDecoding(text).unescaped(twice) {
		spans = append(append(spans, decoded.find(values)...), decoded.plain().find(values)...)
	}
	return replaceSpans(text, spans, keep)
}

// span is a part of a text, from a byte to the one after it.
type span struct{ start, end int }

// replaceSpans puts one [redacted] where spans overlap, in the first bytes of a text, as many as keep says.
func replaceSpans(text []byte, spans []span, keep int) []byte {
	text = text[:min(keep, len(text))]
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	var shown []byte
	done := 0
	for _, found := range spans {
		if found.start >= len(text) {
			break
		}
		if found.start >= done {
			shown = append(append(shown, text[done:found.start]...), redacted...)
		}
		done = max(done, found.end)
	}
	return append(shown, text[min(done, len(text)):]...)
}

// decoding is a text with escapes taken out, and where each byte of it came from.
type decoding struct {
	text    []byte
	from    []int // where in the written text each byte begins, and the end of all
	isPlain bool  // see plain
}

func newDecoding(written []byte) decoding {
	decoded := decoding{text: written, from: make([]int, len(written)+1)}
	for i := range decoded.from {
		decoded.from[i] = i
	}
	return decoded
}

// unescaped are the decodings of a text that has been escaped up to a number of times, in any ways.
func (d decoding) unescaped(times int) []decoding {
	decodings := []decoding{d}
	if times == 0 {
		return decodings
	}
	for _, unescape := range []func([]byte) (char byte, length int){percentEscape, entity, codePoint, backslash} {
		if decoded, changed := d.without(unescape); changed {
			decodings = append(decodings, decoded.unescaped(times-1)...)
		}
	}
	return decodings
}

// without takes one kind of escapes out, and says whether there were any.
func (d decoding) without(unescape func([]byte) (char byte, length int)) (decoded decoding, changed bool) {
	for i := 0; i < len(d.text); {
		char, length := unescape(d.text[i:])
		changed = changed || length > 0
		if length == 0 {
			char, length = d.text[i], 1
		}
		decoded.text, decoded.from = append(decoded.text, char), append(decoded.from, d.from[i])
		i += length
	}
	decoded.from = append(decoded.from, d.from[len(d.text)])
	return decoded, changed
}

// plain has no backslashes and no plus signs, which in URLs are spaces. Texts and values are compared in this form, too.
func (d decoding) plain() decoding {
	decoded := decoding{isPlain: true}
	for i, char := range d.text {
		if char != '\\' {
			decoded.text, decoded.from = append(decoded.text, plainChar(char)), append(decoded.from, d.from[i])
		}
	}
	decoded.from = append(decoded.from, d.from[len(d.text)])
	return decoded
}

func plainChar(char byte) byte {
	if char == '+' {
		return ' '
	}
	return char
}

// find looks for the values, and returns where they are written.
func (d decoding) find(values []string) []span {
	var spans []span
	for _, value := range values {
		sought := []byte(value)
		if d.isPlain {
			sought = newDecoding(sought).plain().text
		}
		if len(sought) == 0 {
			continue
		}
		for i := 0; ; {
			at := bytes.Index(d.text[i:], sought)
			if at < 0 {
				break
			}
			spans = append(spans, span{d.from[i+at], d.from[i+at+len(sought)]})
			i += at + len(sought)
		}
	}
	return spans
}

// percentEscape reads one of URLs, such as %2F. Its length is 0 if there is none at the text's beginning.
func percentEscape(text []byte) (char byte, length int) {
	const escaped = len("%2F")
	if len(text) < escaped || text[0] != '%' {
		return 0, 0
	}
	return twoDigits(text[1:escaped], escaped)
}

// entity reads one of HTML, such as &amp; or &#38;.
func entity(text []byte) (char byte, length int) {
	const longest = len("&#x000026;")
	if len(text) == 0 || text[0] != '&' {
		return 0, 0
	}
	end := bytes.IndexByte(text[:min(len(text), longest)], ';')
	if end < 0 {
		return 0, 0
	}
	plain := html.UnescapeString(string(text[:end+1]))
	if len(plain) != 1 {
		return 0, 0
	}
	return plain[0], end + 1
}

// codePoint reads one of JSON or of a quoted text, such as \u0026 or \x26.
func codePoint(text []byte) (char byte, length int) {
	for _, prefix := range []string{`\u00`, `\x`} {
		if end := len(prefix) + 2; len(text) >= end && string(text[:len(prefix)]) == prefix {
			return twoDigits(text[len(prefix):end], end)
		}
	}
	return 0, 0
}

// backslash reads what codePoint does, and \\. A text may be written either way: of \\x26, a text that was escaped once
// says \x26, and one that was escaped twice &.
func backslash(text []byte) (char byte, length int) {
	if bytes.HasPrefix(text, []byte(`\\`)) {
		return '\\', len(`\\`)
	}
	return codePoint(text)
}

// twoDigits reads two hexadecimal digits, the end of an escape of the length given.
func twoDigits(digits []byte, of int) (char byte, length int) {
	value, err := strconv.ParseUint(string(digits), 16, 8)
	if err != nil {
		return 0, 0
	}
	return byte(value), of
}
