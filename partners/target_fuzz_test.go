package partners

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// What validation accepts, the guard dials: a partner that could be saved is not refused later for how its URL
// is written, and what the HTTP client makes of the URL is what validation looked at.
func FuzzValidateURL(f *testing.F) {
	for _, hosts := range privateTargets {
		for _, host := range hosts {
			f.Add("https://" + host + "/")
		}
	}
	for _, host := range append(append(oddAddresses, privateNames...), "example.com", "8.8.8.8", "[2606:4700:4700::1111]", "[::ffff:8.8.8.8]", "bücher.example", "a@b", "1.1.1.1:80") {
		f.Add("http://" + host + ":8080/path?query")
	}
	for _, seed := range []string{
		"https://example.com/webhooks?a=b", "HTTPS://example.com", "https://a:b@c", "https://[::1%25eth0]:1/", "https://example.com:/",
		"https://example.com:99999", "http://example.com/%00", "https:opaque", "//host", "https://ex ample.com/#", "https://\u0000",
		"https://8.8.8.8:443:80/", "https://example.com\\@10.0.0.1/", "https://example.com:0x50/",
	} {
		f.Add(seed)
	}
	strict := NewGuard(&GuardConfig{AllowHTTP: true})
	loose := NewGuard(&GuardConfig{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	f.Fuzz(func(t *testing.T, text string) {
		for _, guard := range []*Guard{strict, loose} {
			if err := guard.validateURL(text); err != nil {
				require.NotContains(t, err.Error(), "\n")
				continue
			}
			require.LessOrEqual(t, utf8.RuneCountInString(text), maxURL)
			require.Regexp(t, "^https?://", text, "what the database's constraint asks for")
			dialled := dialledAddress(t, text)
			host, port, err := net.SplitHostPort(dialled)
			require.NoError(t, err, dialled)
			if _, err := netip.ParseAddr(host); err == nil {
				require.NoError(t, guard.Control("tcp", dialled, nil), "%q is dialled at %s", text, dialled)
				continue
			}
			require.False(t, isInetAddress(host), "%q is an address to a resolver: %s", text, host)
			if guard == strict {
				number, err := strconv.ParseUint(port, 10, 16)
				require.NoError(t, err)
				require.True(t, defaultPorts().contains(uint16(number)), "%q is dialled at %s", text, dialled)
				require.False(t, strings.HasSuffix("."+strings.ToLower(strings.TrimSuffix(host, ".")), ".localhost"), "%q", text)
			}
		}
	})
}

var errNotDialled = errors.New("nothing is dialled here")

// dialledAddress is where the HTTP client would connect to.
func dialledAddress(t *testing.T, text string) (address string) {
	t.Helper()

	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
		address = addr
		return nil, errNotDialled
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, text, strings.NewReader("{}"))
	require.NoError(t, err, "%q", text)
	response, err := transport.RoundTrip(request)
	if response != nil {
		_ = response.Body.Close()
	}
	require.ErrorIs(t, err, errNotDialled, "%q", text)
	require.Nil(t, request.URL.User)
	require.Empty(t, request.URL.Fragment)
	return address
}

// isInetAddress says whether inet_aton(3), and so a C library's resolver, takes a text for an IPv4 address: one
// to four parts in decimal, octal or hexadecimal, of which the last fills what is left.
func isInetAddress(text string) bool {
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return false
	}
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if part == "" || strings.ContainsAny(part, "+-_") || strings.HasPrefix(strings.ToLower(part), "0b") || strings.HasPrefix(strings.ToLower(part), "0o") {
			return false
		}
		if _, err := strconv.ParseUint(part, 0, bits); err != nil {
			return false
		}
	}
	return true
}
