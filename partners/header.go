package partners

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Limits of a partner's own request headers. Many servers take some 8 KiB of headers in one request.
const (
	maxHeaders      = 20
	maxHeaderName   = 128     // characters
	maxHeadersBytes = 6 << 10 // names and values in all
)

// Headers are a partner's own request headers: every request to it carries them, beside those of
// webhook-worker. The secret values are sealed at rest, and however they are printed they show as [redacted].
type Headers struct {
	Plain  map[string]string
	Secret map[string]Secret
}

var (
	// headerNamePattern matches the token (RFC 9110, section 5.6.2) that a name begins with, and must be.
	headerNamePattern = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+")
	// headerValuePattern is what every server and gateway takes for one value: printable ASCII.
	headerValuePattern = regexp.MustCompile(`^[!-~](?:[ -~]*[!-~])?$`)
	// reservedHeaderPattern matches the names that a request or its connection decides on itself: hop-by-hop
	// ones (RFC 9110, section 7.6.1), those that frame or describe the body, and those of webhook-worker.
	// The constraint partner_webhooks_request_headers_reserved has the same.
	reservedHeaderPattern = regexp.MustCompile(`(?i)^(?:accept-encoding|connection|content-.*|date|expect|host|http2-settings|keep-alive|` +
		`proxy-.*|te|trailer|transfer-encoding|upgrade|user-agent|webhook-.*)$`)
)

// all are the names and values in the order of the names, plain ones first.
func (h Headers) all() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, name := range slices.Sorted(maps.Keys(h.Plain)) {
			if !yield(name, h.Plain[name]) {
				return
			}
		}
		for _, name := range slices.Sorted(maps.Keys(h.Secret)) {
			if !yield(name, h.Secret[name].Reveal()) {
				return
			}
		}
	}
}

// validate refuses what could change a request in another way than by a header more. Its error shows no value.
func (h Headers) validate() error {
	const field = "request_headers"
	if count := len(h.Plain) + len(h.Secret); count > maxHeaders {
		return invalid(field, "", "must be at most %d, and are %d", maxHeaders, count)
	}
	size, seen := 0, map[string]bool{}
	for name, value := range h.all() {
		canonical := http.CanonicalHeaderKey(name)
		// Of what is no name only its beginning is shown: the rest may be a value.
		token := headerNamePattern.FindString(name)
		switch {
		case token != name || name == "" || len(name) > maxHeaderName:
			return invalid(field, token, "must have names such as X-Api-Key, of at most %d characters", maxHeaderName)
		case reservedHeaderPattern.MatchString(name):
			return invalid(field, name, "must not be set: the request or its connection decides on it")
		case seen[canonical]:
			return invalid(field, name, "must be given once; upper and lower case are the same")
		case !headerValuePattern.MatchString(value):
			return invalid(field, name, "must have a value of printable ASCII characters that neither begins nor ends with a space")
		}
		seen[canonical] = true
		size += len(name) + len(value)
	}
	if size > maxHeadersBytes {
		return invalid(field, "", "must have at most %d bytes in all, and have %d", maxHeadersBytes, size)
	}
	return nil
}

// canonical validates headers and writes their names as they are sent.
func (h Headers) canonical() (Headers, error) {
	if err := h.validate(); err != nil {
		return Headers{}, err
	}
	return Headers{Plain: withCanonicalNames(h.Plain), Secret: withCanonicalNames(h.Secret)}, nil
}

func withCanonicalNames[V any](values map[string]V) map[string]V {
	named := make(map[string]V, len(values))
	for name, value := range values {
		named[http.CanonicalHeaderKey(name)] = value
	}
	return named
}

// changed are the headers after a change: a nil map leaves its kind as it is, but for names that the other
// kind has now. A secret header without a value keeps the one that it has.
func (h Headers) changed(changes Headers) Headers {
	after := Headers{Plain: maps.Clone(changes.Plain), Secret: maps.Clone(changes.Secret)}
	for name, value := range after.Secret {
		if value == "" {
			after.Secret[name] = h.Secret[http.CanonicalHeaderKey(name)]
		}
	}
	if after.Plain == nil {
		after.Plain = without(h.Plain, changes.Secret)
	}
	if after.Secret == nil {
		after.Secret = without(h.Secret, changes.Plain)
	}
	return after
}

// without are the values whose names are not among others.
func without[V, W any](values map[string]V, others map[string]W) map[string]V {
	left, gone := maps.Clone(values), withCanonicalNames(others)
	maps.DeleteFunc(left, func(name string, _ V) bool {
		_, found := gone[name]
		return found
	})
	return left
}

// public is the set without its secret values.
func (h Headers) public() RequestHeaders {
	shown := make(RequestHeaders, len(h.Plain)+len(h.Secret))
	for name, value := range h.Plain {
		shown[name] = &value
	}
	for name := range h.Secret {
		shown[name] = nil
	}
	return shown
}

// RequestHeaders are a partner's own request headers as its row holds them: names with their values, and nil
// for a value that is sealed.
type RequestHeaders map[string]*string

// Shown are the names with their values, [redacted] for one that is sealed.
func (h RequestHeaders) Shown() map[string]string {
	shown := make(map[string]string, len(h))
	for name, value := range h {
		shown[name] = redacted
		if value != nil {
			shown[name] = *value
		}
	}
	return shown
}

// MarshalJSON writes what Shown gives.
func (h RequestHeaders) MarshalJSON() ([]byte, error) { return json.Marshal(h.Shown()) }

// column is the JSON of the column, in the one form that its constraints take: no white space, no escapes.
func (h RequestHeaders) column() (string, error) {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(map[string]*string(h)); err != nil {
		return "", fmt.Errorf("encoding request headers: %w", err)
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

// with joins the values of the row with those of the sealed document.
func (h RequestHeaders) with(secret map[string]Secret) Headers {
	headers := Headers{Plain: map[string]string{}, Secret: map[string]Secret{}}
	for name, value := range h {
		if value != nil {
			headers.Plain[name] = *value
		} else {
			headers.Secret[name] = secret[name]
		}
	}
	return headers
}
