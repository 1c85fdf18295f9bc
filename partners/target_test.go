package partners

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// privateTargets are hosts of URLs that lead, or may lead, where partners may not, by how they are written.
var privateTargets = map[string][]string{
	"loopback":         {"127.0.0.1", "127.255.255.254", "[::1]"},
	"private":          {"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"},
	"link-local":       {"169.254.169.254", "[fe80::1]"},
	"CGNAT":            {"100.64.0.1", "100.100.100.200"},
	"benchmark":        {"198.18.0.1", "[2001:2::1]"},
	"documentation":    {"192.0.2.1", "198.51.100.1", "203.0.113.1", "[2001:db8::1]", "[3fff::1]"},
	"multicast":        {"224.0.0.1", "239.255.255.255", "[ff02::1]"},
	"reserved":         {"240.0.0.1", "192.0.0.192", "[100::1]", "[4000::1]"},
	"broadcast":        {"255.255.255.255"},
	"unspecified":      {"0.0.0.0", "0.1.2.3", "[::]"},
	"unique local":     {"[fd00:ec2::254]", "[fc00::1]"},
	"IPv4-mapped":      {"[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:10.0.0.1]"},
	"IPv4-compatible":  {"[::127.0.0.1]", "[::a9fe:a9fe]"},
	"NAT64":            {"[64:ff9b::169.254.169.254]", "[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]"},
	"6to4":             {"[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2002:a00:1::1]"},
	"Teredo":           {"[2001:0:7f00:1::]"},
	"loopback by name": {"localhost", "LOCALHOST", "localhost.", "a.b.localhost", "ｌｏｃａｌｈｏｓｔ"},
}

// oddAddresses are spellings that some resolver takes for an address.
var oddAddresses = []string{
	"0x7f.1", "0x7f000001", "0X7F.0.0.1", "2130706433", "127.1", "127.0.1", "0177.0.0.1", "017700000001", "127.0.0.1.", "127.0.0.01", "1.1", "0",
	"8.8.8.8.8", "256.1.1.1", "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "example.0x", "example.123", "[fe80::1%25eth0]", "[2606:4700:4700::1111%25lo]",
}

// privateNames are names that only a private network knows.
var privateNames = []string{
	"metadata", "kubernetes", "db", "ip6-localhost", "localhost.localdomain", "metadata.google.internal", "metadata.google.internal.", "printer.local", "router.lan",
	"nas.home.arpa", "wiki.corp", "wiki.intranet", "box.home", "kubernetes.default.svc", "a.private",
}

func TestURLsThatLeadToPrivateNetworks(t *testing.T) {
	t.Parallel()

	guard := NewGuard(&GuardConfig{AllowHTTP: true})
	sender := newSender(t, func(cfg *SenderConfig) { cfg.Guard = guard })
	for _, hosts := range privateTargets {
		for _, host := range hosts {
			requireRefused(t, guard.validateURL("http://"+host+"/"), "url", "must not lead to a private or reserved address")
			requireRefused(t, guard.validateURL("https://"+host+":8443/x?y"), "url", "must not lead to a private or reserved address")
			requireKind(t, sender.Send(t.Context(), newRequest("http://"+host+"/")), KindBlocked, "this address may not be called")
		}
	}
	for _, host := range oddAddresses {
		requireRefused(t, guard.validateURL("https://"+host+"/"), "url", "must have an IP address in its usual form")
	}
	for _, host := range privateNames {
		requireRefused(t, guard.validateURL("https://"+host+"/"), "url", "must have a host name that is public")
	}
	for _, host := range []string{"[127.0.0.1]", "-", "a..b", ".example.com", "example.com..", "-a.example", "a_.-b", "exa<mple.com", "exa%25mple.com", "a;b.example", "*.example.com", "xn--\u00e9.example", "\u00ad"} {
		require.Error(t, guard.validateURL("https://"+host+"/"), host)
	}
	for _, host := range []string{"example.com", "EXAMPLE.com", "a.b-c.d_e.example", "bücher.example", "xn--bcher-kva.example", "1.example", "0x7f.example", "8.8.8.8", "[2606:4700:4700::1111]", "[::ffff:8.8.8.8]", "127.0.0.1.nip.io"} {
		require.NoError(t, guard.validateURL("https://"+host+"/"), host)
	}
}

func TestPortsOfURLs(t *testing.T) {
	t.Parallel()

	guard := NewGuard(&GuardConfig{AllowHTTP: true})
	for _, accepted := range []string{"http://example.com/", "http://example.com:80/", "https://8.8.8.8:8000/", "https://example.com:9999/", "https://[2606:4700:4700::1111]:443/"} {
		require.NoError(t, guard.validateURL(accepted))
	}
	for _, refused := range []string{"https://example.com:22/", "https://8.8.8.8:5432/", "http://example.com:10000/", "https://[2606:4700:4700::1111]:25/"} {
		requireRefused(t, guard.validateURL(refused), "url", "must have a port among 80,443,8000-9999 (WEBHOOK_ALLOW_PORTS)")
	}
	require.NoError(t, NewGuard(&GuardConfig{AllowPorts: allPorts}).validateURL("https://example.com:22/"))
}

func TestURLsIntoAllowedNetworks(t *testing.T) {
	t.Parallel()

	opened := func(proxied bool, networks ...string) *Guard {
		cfg := &GuardConfig{AllowHTTP: true, Proxied: proxied}
		for _, network := range networks {
			cfg.AllowNetworks = append(cfg.AllowNetworks, netip.MustParsePrefix(network))
		}
		return NewGuard(cfg)
	}
	for _, tt := range []struct {
		guard   *Guard
		host    string
		allowed bool
	}{
		{opened(false, "127.0.0.0/8"), "127.0.0.1:22", true},
		{opened(false, "127.0.0.0/8"), "localhost:22", true},
		{opened(false, "::1/128"), "localhost:22", true},
		{opened(false, "127.0.0.0/8"), "[::ffff:127.0.0.1]:22", true},
		{opened(false, "127.0.0.0/8"), "[::1]:22", false},
		{opened(false, "127.0.0.0/8"), "127.1:22", false},
		{opened(false, "127.0.0.0/8"), "10.0.0.1", false},
		{opened(false, "10.0.0.0/8"), "10.1.2.3:22", true},
		{opened(false, "10.0.0.0/8"), "localhost", false},
		{opened(false, "10.0.0.0/8"), "receiver:22", true}, // what it leads to is seen when it is dialled
		{opened(false, "10.0.0.0/8"), "receiver.internal", true},
		{opened(false, "10.0.0.0/8"), "8.8.8.8:22", false},
		{opened(true, "10.0.0.0/8"), "10.1.2.3:22", true},
		{opened(true, "10.0.0.0/8"), "receiver", false}, // nobody sees what it leads to
		{opened(true, "10.0.0.0/8"), "metadata.google.internal", false},
		{opened(true, "10.0.0.0/8"), "example.com:22", false},
		{opened(true, "10.0.0.0/8"), "example.com", true},
		{opened(true, "127.0.0.0/8"), "localhost:22", true},
	} {
		err := tt.guard.validateURL("http://" + tt.host + "/")
		if tt.allowed {
			require.NoError(t, err, tt.host)
		} else {
			require.Error(t, err, tt.host)
		}
	}
}
