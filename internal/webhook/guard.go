package webhook

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
)

// Guard judges an address that is about to be dialled, after name resolution, so that a name which resolves
// differently the second time gains nothing. IPv4-mapped IPv6 addresses arrive as IPv4. An error refuses the address
// and shows, wrapped in ErrRefused, in Reply.Err.
type Guard func(ctx context.Context, network string, addr netip.AddrPort) error

// control returns the hook of net.Dialer that runs the guard on every socket before it connects.
func control(g Guard) func(ctx context.Context, network, address string, c syscall.RawConn) error {
	if g == nil {
		return nil
	}
	return func(ctx context.Context, network, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %q is not an address", ErrRefused, address)
		}
		if err := g(ctx, network, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())); err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return nil
	}
}

// PublicOnly is the guard for URLs that did not come from the operator: it refuses every address that is not globally
// reachable by unicast (IANA special-purpose registries), also when it is embedded in a NAT64 or 6to4 address. NAT64
// under a prefix of the network's own can't be recognised. Such URLs also get no redirects: Config.MaxRedirects < 0.
func PublicOnly(_ context.Context, _ string, addr netip.AddrPort) error {
	if !isPublic(addr.Addr().Unmap()) {
		return fmt.Errorf("%s is not a public address, which an endpoint made by API needs (api.allow_private_endpoints)", addr.Addr())
	}
	return nil
}

// redirectGuard is the guard for where an operator's URL is redirected to: a public address, or, from inside, another one
// inside. Link-local addresses (metadata of clouds), multicast and the rest are never what a redirect means.
func redirectGuard(from netip.Addr) Guard {
	return func(_ context.Context, _ string, addr netip.AddrPort) error {
		to := addr.Addr().Unmap()
		if isPublic(to) || isInside(to) && isInside(from) {
			return nil
		}
		return fmt.Errorf("a redirect from %s to %s is not followed", from, to)
	}
}

// isInside says whether the address is one of a network of one's own, or of this machine.
func isInside(a netip.Addr) bool {
	return a.Zone() == "" && (a.IsPrivate() || a.IsLoopback() || netip.MustParsePrefix("100.64.0.0/10").Contains(a))
}

// both asks two guards; either may be nil.
func both(a, b Guard) Guard {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return func(ctx context.Context, network string, addr netip.AddrPort) error {
		if err := a(ctx, network, addr); err != nil {
			return err
		}
		return b(ctx, network, addr)
	}
}

// Control returns the hook of net.Dialer that runs the guard on every socket before it connects; nil for nil.
func Control(g Guard) func(ctx context.Context, network, address string, c syscall.RawConn) error {
	return control(g)
}

func isPublic(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Zone() != "" {
		return false
	}
	if a.Is4() {
		return !containedIn(a, specialV4())
	}
	b := a.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a): // NAT64, RFC 6052
		return isPublic(netip.AddrFrom4([4]byte(b[12:16])))
	case netip.MustParsePrefix("2002::/16").Contains(a): // 6to4, RFC 3056
		return isPublic(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return netip.MustParsePrefix("2000::/3").Contains(a) && !containedIn(a, specialV6())
}

func containedIn(a netip.Addr, prefixes []string) bool {
	for _, p := range prefixes {
		if netip.MustParsePrefix(p).Contains(a) {
			return true
		}
	}
	return false
}

func specialV4() []string {
	return []string{
		"0.0.0.0/8",       // this network, RFC 791
		"100.64.0.0/10",   // carrier-grade NAT, RFC 6598
		"192.0.0.0/24",    // protocol assignments, RFC 6890
		"192.0.2.0/24",    // documentation, RFC 5737
		"192.88.99.0/24",  // 6to4 relays, RFC 7526
		"198.18.0.0/15",   // benchmarks, RFC 2544
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"240.0.0.0/4",     // reserved and broadcast, RFC 1112
	}
}

func specialV6() []string {
	return []string{
		"2001::/23",     // protocol assignments with Teredo, RFC 2928
		"2001:db8::/32", // documentation, RFC 3849
		"3fff::/20",     // documentation, RFC 9637
	}
}
