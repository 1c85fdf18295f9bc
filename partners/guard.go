package partners

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// errBlocked marks what the guard refuses. Its text goes to the tenant, so it says nothing of the network.
var errBlocked = errors.New("this address may not be called")

// PortRange is a range of TCP ports, both ends included.
type PortRange struct{ First, Last uint16 }

// Ports is a list of port ranges.
type Ports []PortRange

// ParsePorts reads single ports and ranges with commas between: 80,443,8000-9999.
func ParsePorts(text string) (Ports, error) {
	var ports Ports
	for item := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(item), "-")
		if !isRange {
			high = low
		}
		first, err1 := strconv.ParseUint(low, 10, 16)
		last, err2 := strconv.ParseUint(high, 10, 16)
		if err1 != nil || err2 != nil || first == 0 || first > last {
			return nil, fmt.Errorf("%q is not a port or a range of ports such as 8000-9999", item)
		}
		ports = append(ports, PortRange{First: uint16(first), Last: uint16(last)})
	}
	return ports, nil
}

// UnmarshalText reads what [ParsePorts] reads.
func (p *Ports) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePorts(string(text))
	return err
}

func (p Ports) String() string {
	items := make([]string, len(p))
	for i, r := range p {
		items[i] = strconv.Itoa(int(r.First))
		if r.Last != r.First {
			items[i] += "-" + strconv.Itoa(int(r.Last))
		}
	}
	return strings.Join(items, ",")
}

func (p Ports) contains(port uint16) bool {
	for _, r := range p {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}

// Guard decides which addresses may be dialled. It looks at the address that is really connected to, after
// DNS, so that a name which answers differently the second time gains nothing.
type Guard struct {
	allowed []netip.Prefix
	ports   Ports
	public  *ssrf.Guardian
}

// NewGuard makes a Guard that lets through public addresses on the given ports, and addresses in the
// allowed networks on any port.
func NewGuard(allowed []netip.Prefix, ports Ports) *Guard {
	return &Guard{
		allowed: allowed,
		ports:   ports,
		public:  ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork()),
	}
}

// Control is for [net.Dialer.Control]: it runs for each address before the connection is made.
func (g *Guard) Control(_, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return errBlocked
	}
	ip := target.Addr().Unmap()
	for _, network := range g.allowed {
		if network.Contains(ip) {
			return nil
		}
	}
	if ip.Zone() != "" || !g.ports.contains(target.Port()) || g.public.SafeAddr(ip) != nil {
		return errBlocked
	}
	return nil
}
