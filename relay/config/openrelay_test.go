package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/auth"
	"postern/relay/setting"
)

func networks(t testing.TB, list string) (all setting.Networks) {
	t.Helper()
	for text := range strings.FieldsSeq(list) {
		var n setting.Network
		if err := n.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

func TestAnOpenRelayIsRefused(t *testing.T) {
	halves := "0.0.0.0/1 128.0.0.0/1"
	for _, tt := range []struct {
		name     string
		listener string // its networks
		balancer string
		trusted  []string // networks of each account
		want     string   // in the problem; "" when there is none
	}{
		{"a printer", "", "", []string{"10.20.3.7"}, ""},
		{"all private networks there are", "", "", []string{"10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fe80::/10 100.64.0.0/10"}, ""},
		{"a public /16", "", "", []string{"8.8.0.0/16"}, ""},
		{"a public /32 of IPv6", "", "", []string{"2a01:4f8::/32"}, ""},
		{"the same networks in three accounts", "", "", []string{"8.8.0.0/16", "8.8.0.0/17", "8.8.4.0/24 8.8.0.0/18"}, ""},
		{"nobody is trusted", "", "", nil, ""},

		{"everybody", "", "", []string{"0.0.0.0/0"}, "through listener submission anybody in 0.0.0.0/0 could send as account a0 without a password, and they hold"},
		{"everybody of IPv6", "", "", []string{"::/0"}, "public"},
		{"everybody in halves", "", "", []string{halves}, "anybody in 0.0.0.0/1, 128.0.0.0/1 could send as account a0"},
		{"everybody of IPv6 in halves", "", "", []string{"8000::/1 ::/1"}, "account a0"},
		{"a whole registry of IPv6", "", "", []string{"2a00::/12"}, "public networks of 64 bits, more than the 4294967296 of a /32"},
		{"half of everybody", "", "", []string{"10.0.0.0/8", "128.0.0.0/1"}, "as account a1"},
		{"a little more than a /16", "", "", []string{"8.8.0.0/16 9.9.9.9"}, "65537 public addresses, more than the 65536 of a /16"},
		{"a little more than a /32", "", "", []string{"2a01:4f8::/32 2a01:4f9::1"}, "4294967297 public networks"},
		{"a /15 that begins in private space", "", "", []string{"172.0.0.0/8"}, "account a0"},
		{"a private network with too short a mask", "", "", []string{"10.0.0.0/7"}, "16777216 public addresses"},
		{"shared out among accounts", "", "", []string{"8.8.0.0/16", "9.9.0.0/16"}, "trusted accounts a0, a1 could send without a password, and together they hold 131072"},
		{"in many pieces", "", "", []string{pieces("8.%d.0.0/16", 0, 40)}, "8.0.0.0/16, 8.1.0.0/16, 8.2.0.0/16 and 37 more networks"},
		{"in single addresses that overlap nothing", "", "", []string{pieces("8.8.%d.0/24", 0, 256) + "8.9.0.1"}, "65537 public addresses"},
		{"all of IPv4 behind NAT64", "", "", []string{"64:ff9b::/96"}, "public addresses, more than the 65536 of a /16"},
		{"half of IPv4 behind NAT64", "", "", []string{"64:ff9b::/97"}, "public addresses, more"},
		{"a printer behind NAT64", "", "", []string{"64:ff9b::8.8.8.8"}, ""},
		{"all of IPv4 behind a NAT64 of one's own", "", "", []string{"64:ff9b:1::/48"}, "public addresses, more than the 65536 of a /16"},
		{"a printer behind a NAT64 of one's own", "", "", []string{"64:ff9b:1::8.8.8.8"}, ""},
		{"everybody behind 6to4", "", "", []string{"2002::/16"}, "public addresses"},
		{"everybody behind Teredo", "", "", []string{"2001::/32"}, "public addresses"},
		{"those who use one Teredo server", "", "", []string{"2001:0:4136:e378::/64"}, "public addresses"},
		{"the documentation prefix beside Teredo", "", "", []string{"2001:db8::/32"}, ""},

		{"everybody, on a listener for the office only", "10.0.0.0/8", "", []string{"0.0.0.0/0"}, ""},
		{"everybody, on a listener for half of everybody", "10.0.0.0/8 128.0.0.0/1", "", []string{"0.0.0.0/0"}, "anybody in 10.0.0.0/8, 128.0.0.0/1 could"},
		{"the office, on a listener for everybody", halves, "", []string{"10.0.0.0/8"}, ""},

		{"the balancer itself", "", "10.9.0.1", []string{"10.9.0.1"}, "10.9.0.1/32 holds 10.9.0.1/32, from where listener submission takes connections for others (proxy_protocol): whoever comes through there without a header would be trusted as account a0"},
		{"a network that holds the balancer", "", "10.9.0.1 10.9.0.2", []string{"10.9.0.0/24"}, "10.9.0.0/24 holds 10.9.0.1/32"},
		{"a printer among the balancers", "", "10.9.0.0/24", []string{"10.9.0.7"}, "10.9.0.7/32 holds 10.9.0.0/24"},
		{"this machine, with a balancer on it", "", "127.0.0.1 ::1", []string{"127.0.0.0/8"}, "127.0.0.0/8 holds 127.0.0.1/32"},
		{"a printer that half of everybody may pass for", "", "0.0.0.0/1", []string{"192.168.3.7"}, "listener submission believes anybody in 0.0.0.0/1 which address they have (proxy_protocol), and they hold"},
		{"a printer that everybody of IPv6 may pass for", "", "::/0", []string{"10.20.3.7"}, "so they could send as account a0 without a password; list only your balancers"},
		{"a provider's balancers", "", "8.8.0.0/16", []string{"10.20.3.7"}, ""},
		{"printers beside the balancer", "", "10.9.0.1", []string{"10.9.0.2 10.9.0.3"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var accounts []Account
			for i, list := range tt.trusted {
				accounts = append(accounts, Account{Auth: auth.Account{Name: fmt.Sprint("a", i), Trusted: true, Networks: networks(t, list)}})
			}
			// Whoever has to log in may come from anywhere.
			accounts = append(accounts, Account{Auth: auth.Account{Name: "roaming", Networks: networks(t, "0.0.0.0/0")}})
			f := &file{name: "f", lines: map[string]int{}}
			f.openRelays([]entrance{{"submission", networks(t, tt.listener), networks(t, tt.balancer)}}, accounts)
			if tt.want == "" {
				if len(f.problems) > 0 {
					t.Errorf("refused: %v", f.problems)
				}
				return
			}
			if len(f.problems) != 1 || !strings.Contains(f.problems.Error(), tt.want) || !strings.HasSuffix(f.problems[0].Path, ".networks") {
				t.Errorf("got %v, want %q", f.problems, tt.want)
			}
		})
	}
}

// pieces are the networks of a pattern from a number up to another.
func pieces(pattern string, from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, pattern+" ", i)
	}
	return b.String()
}

// The listener that is open is named, also when there are others.
func TestAnOpenRelayIsNamedByItsListener(t *testing.T) {
	accounts := []Account{{Auth: auth.Account{Name: "printer", Trusted: true, Networks: networks(t, "0.0.0.0/0")}}}
	f := &file{name: "f", lines: map[string]int{}}
	f.openRelays([]entrance{{name: "office", networks: networks(t, "10.0.0.0/8")}, {name: "world"}}, accounts)
	if len(f.problems) != 1 || !strings.Contains(f.problems[0].Text, "through listener world ") {
		t.Errorf("got %v", f.problems)
	}
}

// However networks are cut into pieces and shuffled, what they hold is counted
// once.
func TestNetworksAreCountedOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var list setting.Networks
		want := map[netip.Addr]bool{}
		for range rapid.IntRange(0, 12).Draw(rt, "networks") {
			bits := rapid.IntRange(24, 32).Draw(rt, "bits")
			a := netip.AddrFrom4([4]byte{8, 8, rapid.Byte().Draw(rt, "third") % 4, rapid.Byte().Draw(rt, "fourth")})
			p := netip.PrefixFrom(a, bits).Masked()
			list = append(list, setting.Network(p))
			for a := p.Addr(); p.Contains(a); a = a.Next() {
				want[a] = true
			}
		}
		list = append(list, setting.Network(netip.MustParsePrefix("10.0.0.0/8")))
		s := strangersIn(list)
		if got := s.four.size(); got != uint64(len(want)) {
			rt.Fatalf("%v hold %d, counted %d", list, len(want), got)
		}
		s.add(list)
		if got := s.four.size(); got != uint64(len(want)) {
			rt.Fatalf("%v hold %d, counted %d when added twice", list, len(want), got)
		}
	})
}
