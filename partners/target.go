package partners

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

var (
	errPrivateAddress = errors.New("must not lead to a private or reserved address (WEBHOOK_ALLOW_NETWORKS opens networks)")
	errPrivateName    = errors.New("must have a host name that is public (WEBHOOK_ALLOW_NETWORKS opens networks)")
	errOddAddress     = errors.New("must have an IP address in its usual form, such as 198.51.100.7 or [2001:db8::7]")
	errHostName       = errors.New("must have a valid host name")
)

// hostPattern accepts host names in ASCII; underscores are no part of one, and exist.
var hostPattern = regexp.MustCompile(`^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$`)

// maxHost is the longest host name of DNS.
const maxHost = 253

// privateName matches names that only a private network knows: of one label, which is completed by the resolver's
// search list, or below a suffix that is not public by RFC 6761, 6762 and 8375, ICANN's reservation of internal, or
// custom.
var privateName = regexp.MustCompile(`^[^.]*$|\.(?:localdomain|local|internal|home\.arpa|intranet|private|lan|home|corp|svc)$`)

// checkTarget refuses URLs that can be seen to lead where partners may not, without asking DNS. What a name
// leads to is seen by [Guard.Control], unless a proxy looks it up.
func (g *Guard) checkTarget(target *url.URL) error {
	port, err := portOf(target)
	if err != nil {
		return err
	}
	host, err := asciiHost(target.Hostname())
	if err != nil {
		return err
	}
	bracketed := strings.HasPrefix(target.Host, "[")
	switch {
	case !bracketed && !endsInNumber(host):
		return g.checkName(host, port)
	case host != strings.ToLower(target.Hostname()):
		return errOddAddress // of foreign digits
	}
	return g.checkAddress(host, bracketed, port)
}

func (g *Guard) checkAddress(host string, bracketed bool, port uint16) error {
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil, ip.Is4() == bracketed, ip.Zone() != "":
		return errOddAddress
	case g.permits(ip, port):
		return nil
	case g.public.SafeAddr(ip.Unmap()) == nil:
		return g.portError()
	}
	return errPrivateAddress
}

func (g *Guard) checkName(host string, port uint16) error {
	name := strings.TrimSuffix(host, ".")
	if len(name) > maxHost || !hostPattern.MatchString(name) {
		return errHostName
	}
	if isLocalhost(name) {
		if g.opens(netip.AddrFrom4([4]byte{127, 0, 0, 1})) || g.opens(netip.IPv6Loopback()) {
			return nil
		}
		return errPrivateAddress
	}
	if len(g.cfg.AllowNetworks) > 0 && !g.cfg.Proxied {
		return nil // it may lead into one of them, on any port: connecting shows it
	}
	if privateName.MatchString(name) {
		return errPrivateName
	}
	if !g.cfg.AllowPorts.contains(port) {
		return g.portError()
	}
	return nil
}

func (g *Guard) portError() error {
	return fmt.Errorf("must have a port among %s (WEBHOOK_ALLOW_PORTS)", g.cfg.AllowPorts)
}

// portOf is the port that a URL leads to.
func portOf(target *url.URL) (uint16, error) {
	text := target.Port()
	if text == "" && !strings.HasSuffix(target.Host, ":") {
		if target.Scheme == "http" {
			return 80, nil
		}
		return 443, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, errors.New("must have a port between 1 and 65535")
	}
	return uint16(port), nil
}

// asciiHost is a host as the HTTP client looks it up: foreign letters in their ASCII form, which also turns
// full-width digits and dots into plain ones.
func asciiHost(host string) (string, error) {
	for _, c := range []byte(host) {
		if c >= 0x80 {
			ascii, err := idna.Lookup.ToASCII(host)
			if err != nil {
				return "", errHostName
			}
			return strings.ToLower(ascii), nil
		}
	}
	return strings.ToLower(host), nil
}

// endsInNumber says whether resolvers may read a host as an IPv4 address, in any of its spellings: decimal,
// octal or hexadecimal, of one to four parts.
func endsInNumber(host string) bool {
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	last := labels[len(labels)-1]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// isLocalhost says whether a name is this machine by RFC 6761.
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
