package ops

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

const localhost = "localhost"

// HostName is a name or an address, in lower case, under which browsers may ask for pages.
type HostName string

var dnsName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?$`)

// UnmarshalText refuses what no browser would send as a host: URLs, ports, wildcards.
func (n *HostName) UnmarshalText(text []byte) error {
	name := strings.ToLower(string(text))
	if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		name = ip.Unmap().String()
	} else if !dnsName.MatchString(name) {
		return errors.New("it must be a name or an address, such as pages.example.com, without scheme and port")
	}
	*n = HostName(name)
	return nil
}

// withHosts answers requests for the address that they came in at, and for names that were given. A page on
// the internet whose name leads to this machine (DNS rebinding) is of the same origin to its visitor's browser,
// and only the name tells it apart. The port does not matter: a tunnel's is another.
func withHosts(names []HostName, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := hostOf(r)
		if !slices.Contains(names, HostName(name)) && !isLocal(name, r) {
			http.Error(w, "these pages are not served under this name: use another, or give it with --host", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLocal says whether a host is the address at which the request came in, or another word for loopback.
func isLocal(name string, r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return false
	}
	here := local.AddrPort().Addr().Unmap().WithZone("")
	if here.IsLoopback() && isLoopbackName(name) {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap() == here
}

func isLoopbackName(name string) bool {
	ip, err := netip.ParseAddr(name)
	return name == localhost || err == nil && ip.Unmap().IsLoopback()
}

// hostOf is the name or address that a request asks for, in the form of a [HostName].
func hostOf(r *http.Request) string {
	name := r.Host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().WithZone("").String()
	}
	return name
}
