package message_test

import (
	"net/netip"
	"testing"

	"postern/relay/message"
)

func TestOneClient(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7":            "192.0.2.7/32",
		"::ffff:192.0.2.7":     "192.0.2.7/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0":         "fe80::/64",
	} {
		if got := message.OneClient(netip.MustParseAddr(address)); got.String() != want {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
	if got := message.OneClient(netip.Addr{}); got.IsValid() {
		t.Errorf("no address counts as %s", got)
	}
}
