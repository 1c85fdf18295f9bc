package partners

import (
	"errors"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// errBlocked marks what the guard refuses. Its text goes to the tenant, so it says nothing of the network.
var errBlocked = errors.New("this address may not be called")

// defaultPorts are those that may be dialled if none are given.
func defaultPorts() Ports {
	return Ports{{First: 80, Last: 80}, {First: 443, Last: 443}, {First: 8000, Last: 9999}}
}

// azureWireServer answers, on Azure's machines alone, as a metadata service does; its address looks public.
func azureWireServer() netip.Prefix { return netip.MustParsePrefix("168.63.129.16/32") }

// GuardConfig says what a Guard lets through. Its zero value is public https addresses on the usual ports.
type GuardConfig struct {
	AllowHTTP     bool           // whether partners may be added with http URLs
	AllowNetworks []netip.Prefix // may be called although they are private, on any port
	AllowPorts    Ports          // of public addresses; empty: 80, 443 and 8000 to 9999
	Proxied       bool           // requests go through a proxy, which is what looks names up
}

// Guard decides what partners may be called: it looks at the URL when a partner is saved and before each
// request, and at the address that is really connected to, after DNS, so that a name which answers
// differently the second time gains nothing.
type Guard struct {
	cfg    GuardConfig
	public *ssrf.Guardian
}

// NewGuard makes a Guard.
func NewGuard(cfg *GuardConfig) *Guard {
	guard := &Guard{cfg: *cfg, public: ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork(), ssrf.WithDeniedV4Prefixes(azureWireServer()))}
	if len(guard.cfg.AllowPorts) == 0 {
		guard.cfg.AllowPorts = defaultPorts()
	}
	return guard
}

// Control is for [net.Dialer.Control]: it runs for each address before the connection is made.
func (g *Guard) Control(_, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil || !g.permits(target.Addr(), target.Port()) {
		return errBlocked
	}
	return nil
}

// permits says whether an address may be called on a port.
func (g *Guard) permits(ip netip.Addr, port uint16) bool {
	return g.opens(ip) || ip.Zone() == "" && g.cfg.AllowPorts.contains(port) && g.public.SafeAddr(ip.Unmap()) == nil
}

// opens says whether an address is inside the networks that the operator has opened.
func (g *Guard) opens(ip netip.Addr) bool {
	for _, network := range g.cfg.AllowNetworks {
		if network.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}
