package auth_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"postern/auth"
	"postern/relay/setting"
)

func within(t *testing.T, texts ...string) (all setting.Networks) {
	t.Helper()
	for _, text := range texts {
		var n setting.Network
		if err := n.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

func TestTrustedDevicesAreKnownByTheirAddress(t *testing.T) {
	a, err := auth.New(auth.DefaultConfig(), []auth.Account{
		{Name: "office", Trusted: true, Networks: within(t, "10.20.0.0/16", "fd00::/8", "fe80::/10")},
		{Name: "printer-3f", Trusted: true, Networks: within(t, "10.20.3.7", "10.20.4.0/24")},
		{Name: "roaming", Networks: within(t, "10.20.3.8", "192.0.2.0/24")},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"10.20.3.7":         "printer-3f",
		"::ffff:10.20.3.7":  "printer-3f",
		"10.20.4.200":       "printer-3f",
		"10.20.3.8":         "office", // that account has to log in
		"10.20.200.1":       "office",
		"fd00::7":           "office",
		"fe80::7%eth0":      "office",
		"10.21.0.1":         "",
		"192.0.2.1":         "",
		"2001:db8::1":       "",
		"::ffff:192.0.2.77": "",
	} {
		if got, ok := a.Trusted(netip.MustParseAddr(address)); got != want || ok != (want != "") {
			t.Errorf("%s is %q, %v; want %q", address, got, ok, want)
		}
	}
}

func TestTrustThatCannotBeGiven(t *testing.T) {
	for _, tt := range []struct {
		name     string
		accounts []auth.Account
		want     string
	}{
		{"without networks", []auth.Account{{Name: "printer", Trusted: true}}, "accounts[0].trusted: it needs networks"},
		{"the same network twice", []auth.Account{
			{Name: "printer", Trusted: true, Networks: within(t, "10.20.3.0/24")},
			{Name: "scanner", Trusted: true, Networks: within(t, "10.20.4.0/24", "10.20.3.0/24")},
		}, `accounts[1].networks[1]: 10.20.3.0/24 is trusted as account "printer" already`},
		{"the same address, written as IPv6", []auth.Account{
			{Name: "printer", Trusted: true, Networks: within(t, "10.20.3.7")},
			{Name: "scanner", Trusted: true, Networks: within(t, "::ffff:10.20.3.7")},
		}, `accounts[1].networks[0]: 10.20.3.7/32 is trusted as account "printer" already`},
		{"a network in another", []auth.Account{
			{Name: "printer", Trusted: true, Networks: within(t, "10.20.3.0/24")},
			{Name: "scanner", Trusted: true, Networks: within(t, "10.20.3.0/25")},
		}, ""},
		{"a network that another account logs in from", []auth.Account{
			{Name: "printer", Trusted: true, Networks: within(t, "10.20.3.0/24")},
			{Name: "scanner", Networks: within(t, "10.20.3.0/24")},
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := auth.New(auth.DefaultConfig(), tt.accounts, slog.New(slog.DiscardHandler))
			if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.HasPrefix(got, tt.want) && tt.want != "" {
				t.Errorf("the error is %v, want %q", err, tt.want)
			}
		})
	}
}

func TestNamesAreKnownInAnyLetterCase(t *testing.T) {
	a, err := auth.New(auth.DefaultConfig(), []auth.Account{{Name: "printer-3f", Aliases: []string{"scan3f@example.com"}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"printer-3f": "printer-3f", "PRINTER-3F": "printer-3f", "Scan3f@example.com": "printer-3f", "hunter2": "", "": ""} {
		if got := a.NameOf(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}
