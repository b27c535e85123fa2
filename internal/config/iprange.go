package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// IPRanges is a list of IP addresses, ranges "a-b" and CIDR prefixes, IPv4 and IPv6. The zero value is the empty
// list, which contains every address (http.allow_ip_range).
type IPRanges struct {
	ranges []ipRange
}

// ipRange holds from and to, both included, of one family.
type ipRange struct{ from, to netip.Addr }

// ParseIPRanges parses a comma list of addresses, ranges and prefixes. Blanks around them don't matter, empty
// elements are skipped.
func ParseIPRanges(s string) (IPRanges, error) {
	var out IPRanges
	for item := range strings.SplitSeq(s, ",") {
		item = strings.Trim(item, blank)
		if item == "" {
			continue
		}
		r, err := parseIPRange(item)
		if err != nil {
			return IPRanges{}, fmt.Errorf("%q: %w", item, err)
		}
		out.ranges = append(out.ranges, r)
	}
	return out, nil
}

func parseIPRange(s string) (ipRange, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return ipRange{}, fmt.Errorf("config: %w", err)
		}
		return prefixRange(p), nil
	}
	a, b, isRange := strings.Cut(s, "-")
	from, err := parseAddr(a)
	if err != nil || !isRange {
		return ipRange{from, from}, err
	}
	to, err := parseAddr(b)
	if err != nil {
		return ipRange{}, err
	}
	if from.BitLen() != to.BitLen() {
		return ipRange{}, fmt.Errorf("config: %s and %s are of different families", from, to)
	}
	if to.Less(from) {
		return ipRange{}, fmt.Errorf("config: %s is after %s", from, to)
	}
	return ipRange{from, to}, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.Trim(s, blank))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("config: %w", err)
	}
	return a.WithZone("").Unmap(), nil
}

// prefixRange returns the first and the last address of p.
func prefixRange(p netip.Prefix) ipRange {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	to, _ := netip.AddrFromSlice(last)
	from := p.Addr()
	if from.Is4In6() && to.Is4In6() {
		from, to = from.Unmap(), to.Unmap()
	}
	return ipRange{from, to}
}

// Contains says whether a is in the list, or the list is empty. An IPv4 address that came in its IPv6 form
// (::ffff:a.b.c.d) is taken as IPv4. An invalid address is in no list, not even in the empty one.
func (r IPRanges) Contains(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	if len(r.ranges) == 0 {
		return true
	}
	a = a.WithZone("").Unmap()
	for _, x := range r.ranges {
		if a.BitLen() == x.from.BitLen() && !a.Less(x.from) && !x.to.Less(a) {
			return true
		}
	}
	return false
}
