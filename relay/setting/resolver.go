package setting

import (
	"context"
	"net"
)

// Resolver asks the DNS server at address, host:port; "" those of the system.
func Resolver(address string) *net.Resolver {
	r := &net.Resolver{PreferGo: true}
	if address != "" {
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		}
	}
	return r
}
