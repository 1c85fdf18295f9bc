package partners

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// allPorts rules ports out of a test of addresses.
var allPorts = Ports{{First: 1, Last: 65535}}

func TestGuardAddresses(t *testing.T) {
	t.Parallel()

	guard := NewGuard(&GuardConfig{AllowPorts: allPorts})
	for _, address := range []string{
		"8.8.8.8", "1.1.1.1", "93.184.215.14", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0", "192.167.255.255",
		"223.255.255.255", "11.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "::ffff:8.8.8.8",
		"2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "2001:4860:4860::8888",
	} {
		require.NoError(t, guard.Control("tcp", hostPort(address, "443"), nil), address)
	}
	for what, addresses := range map[string][]string{
		"loopback":           {"127.0.0.1", "127.0.0.2", "127.255.255.255", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:ffff:127.1.2.3"},
		"RFC 1918":           {"10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "::ffff:10.0.0.1", "::ffff:192.168.1.1"},
		"link-local":         {"169.254.0.1", "169.254.169.254", "169.254.170.2", "::ffff:169.254.169.254", "fe80::1", "febf::1", "fe80::1%eth0", "fe80::1%1"},
		"CGNAT":              {"100.64.0.0", "100.100.100.200", "100.127.255.255"},
		"unique local":       {"fc00::1", "fd00::1", "fd00:ec2::254", "fdff:ffff::1"},
		"site-local":         {"fec0::1"},
		"unspecified":        {"0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"},
		"NAT64":              {"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::7f00:1"},
		"6to4":               {"2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::"},
		"Teredo":             {"2001::1", "2001:0:7f00:1::"},
		"IPv4-compatible":    {"::127.0.0.1", "::8.8.8.8"},
		"IPv4-translated":    {"::ffff:0:127.0.0.1"},
		"multicast":          {"224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"},
		"broadcast":          {"255.255.255.255"},
		"reserved":           {"240.0.0.1", "254.1.2.3", "192.0.0.1", "192.0.0.192", "192.88.99.1", "100::1", "4000::1", "5f00::1", "::2"},
		"documentation":      {"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"},
		"benchmarking":       {"198.18.0.1", "198.19.255.255", "2001:2::1"},
		"ORCHID":             {"2001:10::1", "2001:20::1"},
		"zone on public":     {"2606:4700:4700::1111%eth0"},
		"metadata of others": {"192.0.0.192", "fd20:ce::254", "168.63.129.16", "::ffff:168.63.129.16"},
	} {
		for _, address := range addresses {
			require.ErrorIs(t, guard.Control("tcp", hostPort(address, "443"), nil), errBlocked, "%s: %s", what, address)
		}
	}
}

func TestGuardRefusesWhatIsNoAddress(t *testing.T) {
	t.Parallel()

	guard := NewGuard(&GuardConfig{
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, AllowPorts: allPorts,
	})
	for _, address := range []string{
		"", ":", ":443", "8.8.8.8", "8.8.8.8:", "8.8.8.8:https", "8.8.8.8:65536", "8.8.8.8:-1", "example.com:443", "localhost:80",
		"8.8.8:80", "010.0.0.1:80", "0x7f.1:80", "2130706433:80", "::1:80", "/run/docker.sock", "@abstract",
	} {
		require.ErrorIs(t, guard.Control("tcp", address, nil), errBlocked, address)
	}
}

func TestGuardPorts(t *testing.T) {
	t.Parallel()

	ports, err := ParsePorts("80,443,8000-9999")
	require.NoError(t, err)
	guard := NewGuard(&GuardConfig{AllowPorts: ports})
	for _, port := range []string{"80", "443", "8000", "8443", "9999"} {
		require.NoError(t, guard.Control("tcp", hostPort("8.8.8.8", port), nil), port)
	}
	for _, port := range []string{"0", "1", "22", "25", "79", "81", "442", "444", "5432", "6379", "7999", "10000", "65535"} {
		require.ErrorIs(t, guard.Control("tcp", hostPort("8.8.8.8", port), nil), errBlocked, port)
	}
	require.Equal(t, ports, NewGuard(&GuardConfig{}).cfg.AllowPorts, "what is meant by none")
}

func TestGuardAllowedNetworks(t *testing.T) {
	t.Parallel()

	guard := NewGuard(&GuardConfig{
		AllowNetworks: []netip.Prefix{
			netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("fd00:1::/32"),
		},
		AllowPorts: Ports{{First: 443, Last: 443}},
	})
	for _, address := range []string{"10.1.0.0:22", "10.1.255.255:1", "127.0.0.1:5432", "[::ffff:10.1.2.3]:6379", "[fd00:1::1]:80"} {
		require.NoError(t, guard.Control("tcp", address, nil), address)
	}
	for _, address := range []string{
		"10.0.255.255:443", "10.2.0.0:443", "127.0.0.2:443", "[::1]:443", "[fd00:2::1]:443", "[fd00:1::1%eth0]:443", "8.8.8.8:22", "[64:ff9b::a01:1]:443",
	} {
		require.ErrorIs(t, guard.Control("tcp", address, nil), errBlocked, address)
	}
}

func hostPort(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}
