package config

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"postern/relay/setting"
)

// What one organisation may own of the Internet: a /16 of IPv4 addresses, a /32
// of IPv6, which is what a provider gets.
const (
	most4 = 1 << 16 // addresses
	most6 = 1 << 32 // networks of 64 bits, of which a host may use any address
)

// strangers are the public addresses of some networks: those whose owner nobody
// here can know. IPv4 is counted by address, IPv6 by /64.
type strangers struct{ four, six spans }

func strangersIn(networks setting.Networks) (s strangers) {
	s.add(networks)
	return s
}

// private is what never comes from the Internet (RFC 6890 and its registries).
var private = func() (s strangers) {
	for _, text := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/8", "2001:db8::/32", "3fff::/20", "fc00::/7", "fe80::/10", "ff00::/8",
	} {
		p := netip.MustParsePrefix(text)
		if p.Addr().Is4() {
			s.four = append(s.four, span4(p))
		} else {
			s.six = append(s.six, span6(p))
		}
	}
	return s
}()

// Where addresses of IPv6 stand for those of IPv4 everywhere: NAT64 (RFC 6052),
// also of a network's own (RFC 8215), and 6to4 (RFC 3056), by how many bits come
// before the IPv4 address. Behind Teredo (RFC 4380) may be anybody.
var (
	translated = map[netip.Prefix]int{
		netip.MustParsePrefix("64:ff9b::/96"):   96,
		netip.MustParsePrefix("64:ff9b:1::/48"): 96,
		netip.MustParsePrefix("2002::/16"):      16,
	}
	teredo = netip.MustParsePrefix("2001::/32")
)

// add counts the public addresses of networks, those not counted yet.
func (s *strangers) add(networks setting.Networks) {
	for _, n := range networks {
		p := netip.Prefix(n)
		if p.Addr().Is4() {
			s.four = append(s.four, span4(p))
			continue
		}
		s.six = append(s.six, span6(p))
		for prefix, before := range translated {
			if p.Overlaps(prefix) {
				s.four = append(s.four, embedded(p, before))
			}
		}
		if p.Overlaps(teredo) {
			s.four = append(s.four, span{0, 1<<32 - 1})
		}
	}
	s.four, s.six = s.four.join().without(private.four), s.six.join().without(private.six)
}

func (s strangers) tooMany() bool { return s.four.size() > most4 || s.six.size() > most6 }

func (s strangers) String() string {
	if s.four.size() > most4 {
		return fmt.Sprintf("%d public addresses, more than the %d of a /16", s.four.size(), most4)
	}
	return fmt.Sprintf("%d public networks of 64 bits, more than the %d of a /32", s.six.size(), uint64(most6))
}

// span is a range of addresses, both ends included.
type span struct{ first, last uint64 }

type spans []span

// span4 counts in addresses, span6 in networks of 64 bits.
func span4(p netip.Prefix) span {
	a := p.Masked().Addr().As4()
	first := uint64(binary.BigEndian.Uint32(a[:]))
	return span{first, first | (1<<(32-p.Bits()) - 1)}
}

func span6(p netip.Prefix) span {
	a := p.Masked().Addr().As16()
	first := binary.BigEndian.Uint64(a[:8])
	if p.Bits() >= 64 {
		return span{first, first}
	}
	return span{first, first | (1<<(64-p.Bits()) - 1)}
}

// embedded are the IPv4 addresses that those of p stand for, which hold them
// behind that many bits.
func embedded(p netip.Prefix, before int) span {
	bits := min(max(p.Bits()-before, 0), 32)
	a := p.Masked().Addr().As16()
	from := before / 8
	return span4(netip.PrefixFrom(netip.AddrFrom4([4]byte(a[from:from+4])), bits))
}

// join orders the spans and makes one of those that overlap.
func (all spans) join() (joined spans) {
	slices.SortFunc(all, func(x, y span) int { return cmp.Compare(x.first, y.first) })
	for _, s := range all {
		if n := len(joined); n > 0 && s.first <= joined[n-1].last {
			joined[n-1].last = max(joined[n-1].last, s.last)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// without is what of joined spans lies in none of the holes.
func (all spans) without(holes spans) spans {
	for _, h := range holes {
		var rest spans
		for _, s := range all {
			if h.last < s.first || s.last < h.first {
				rest = append(rest, s)
				continue
			}
			if s.first < h.first {
				rest = append(rest, span{s.first, h.first - 1})
			}
			if h.last < s.last {
				rest = append(rest, span{h.last + 1, s.last})
			}
		}
		all = rest
	}
	return all
}

// size is how many joined spans hold. They never hold all there is, so it fits.
func (all spans) size() (n uint64) {
	for _, s := range all {
		n += s.last - s.first + 1
	}
	return n
}
