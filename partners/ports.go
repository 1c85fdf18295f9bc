package partners

import (
	"fmt"
	"strconv"
	"strings"
)

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
