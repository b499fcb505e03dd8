package message

import "net/netip"

// OneClient is what counts as one client where clients are counted: an IPv4
// address, or the IPv6 /64 of which a host may use any address. Whatever is no
// IP address counts as one together.
func OneClient(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Prefix for what is no address
	return p
}
