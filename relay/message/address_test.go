package message_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/relay/message"
)

func TestParseAddress(t *testing.T) {
	long := strings.Repeat("a", 64)
	label := strings.Repeat("d", 63)
	for _, tt := range []struct {
		name, in      string
		local, domain string // "" when refused
	}{
		{"a plain mailbox", "scan@example.com", "scan", "example.com"},
		{"a tag is part of the local part", "scan+3f@example.com", "scan+3f", "example.com"},
		{"every atom character of RFC 5322", "!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~", "example.com"},
		{"quotes that were not needed are not kept", `"scan"@example.com`, "scan", "example.com"},
		{"a quoted space", `"3rd floor"@example.com`, "3rd floor", "example.com"},
		{"a quoted @", `"a@b"@example.com`, "a@b", "example.com"},
		{"a quoted quote and backslash", `"a\"\\b"@example.com`, `a"\b`, "example.com"},
		{"an escape that was not needed", `"\a"@example.com`, "a", "example.com"},
		{"UTF-8 in both halves", "dörte@bücher.example", "dörte", "bücher.example"},
		{"a host without a dot", "root@localhost", "root", "localhost"},
		{"an underscore in a host name", "a@my_host.example", "a", "my_host.example"},
		{"an IPv4 literal", "a@[192.0.2.1]", "a", "[192.0.2.1]"},
		{"an IPv6 literal", "a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]"},
		{"a local part of 64 octets", long + "@example.com", long, "example.com"},
		{"a label of 63 octets", "a@" + label + ".example", "a", label + ".example"},

		{"nothing", "", "", ""},
		{"no @", "scan", "", ""},
		{"two @", "a@b@example.com", "", ""},
		{"no local part", "@example.com", "", ""},
		{"an empty quoted local part", `""@example.com`, "", ""},
		{"no domain", "scan@", "", ""},
		{"a space outside quotes", "3rd floor@example.com", "", ""},
		{"a leading dot", ".scan@example.com", "", ""},
		{"a trailing dot", "scan.@example.com", "", ""},
		{"two dots in a row", "a..b@example.com", "", ""},
		{"angle brackets", "<scan@example.com>", "", ""},
		{"text after the closing quote", `"a"b@example.com`, "", ""},
		{"an open quote", `"scan@example.com`, "", ""},
		{"a backslash at the end", `"scan\`, "", ""},
		{"a local part of 65 octets", long + "a@example.com", "", ""},
		{"a label of 64 octets", "a@" + label + "d.example", "", ""},
		{"an empty label", "a@example..com", "", ""},
		{"a root dot", "a@example.com.", "", ""},
		{"a hyphen at the edge of a label", "a@-example.com", "", ""},
		{"a space in the domain", "a@exam ple.com", "", ""},
		{"a comment in the domain", "a@example.com(x)", "", ""},
		{"a line end in quotes", "\"a\r\nRCPT\"@example.com", "", ""},
		{"a NUL in quotes", "\"a\x00b\"@example.com", "", ""},
		{"a C1 control in quotes", "\"a\u0085b\"@example.com", "", ""},
		{"octets that are not UTF-8", "\xff@example.com", "", ""},
		{"a domain that is not UTF-8", "a@\xff.example", "", ""},
		{"an IPv6 literal without its tag", "a@[2001:db8::1]", "", ""},
		{"an IPv4 literal with the tag of IPv6", "a@[IPv6:192.0.2.1]", "", ""},
		{"a literal with a zone", "a@[IPv6:fe80::1%eth0]", "", ""},
		{"a literal that is not closed", "a@[192.0.2.1", "", ""},
		{"a path over 254 octets", long + "@" + strings.Repeat(label+".", 3) + "example", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := message.ParseAddress(tt.in)
			if (err != nil) != (tt.local == "") {
				t.Fatalf("ParseAddress(%q) = %q, %v", tt.in, a, err)
			}
			if a != (message.Address{Local: tt.local, Domain: tt.domain}) {
				t.Errorf("ParseAddress(%q) = %q at %q", tt.in, a.Local, a.Domain)
			}
		})
	}
}

func TestSplitAddressTakesTheLastAt(t *testing.T) {
	a, err := message.SplitAddress("a@b c@example.com")
	if err != nil || a.Local != "a@b c" || a.Domain != "example.com" {
		t.Errorf("got %q at %q, %v", a.Local, a.Domain, err)
	}
	if got, want := a.String(), `"a@b c"@example.com`; got != want {
		t.Errorf("String() = %s, want %s", got, want)
	}
	for _, bad := range []string{"", "scan", "@example.com", "scan@"} {
		if a, err := message.SplitAddress(bad); err == nil {
			t.Errorf("SplitAddress(%q) = %q", bad, a)
		}
	}
}

// Every address NewAddress accepts is read back from its wire form, and from
// the unquoted form of the SMTP library.
func TestAddressReadsBack(t *testing.T) {
	local := rapid.OneOf(
		rapid.StringMatching("[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~\"\\\\@<>(),:; -]{1,70}"),
		rapid.String())
	domain := rapid.OneOf(
		rapid.StringMatching(`([a-zA-Z0-9_-]{1,10}\.){0,3}[a-z]{1,9}`),
		rapid.SampledFrom([]string{"[192.0.2.1]", "[IPv6:2001:db8::1]", "bücher.example"}),
		rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		a, err := message.NewAddress(local.Draw(t, "local"), domain.Draw(t, "domain"))
		if err != nil {
			t.Skip("not an address")
		}
		checkReadsBack(t, a)
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"scan@example.com", `"a\"\\b@c"@[IPv6:::1]`, "dörte@bücher.example", `"a`, "a@[", "@", `"\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := message.ParseAddress(s)
		if err != nil {
			if a != (message.Address{}) {
				t.Fatalf("an address beside an error: %q", a)
			}
			return
		}
		checkReadsBack(t, a)
		if strings.ContainsAny(a.String(), "\r\n\x00") {
			t.Fatalf("%q breaks out of its line", a)
		}
	})
}

func checkReadsBack(t interface{ Fatalf(string, ...any) }, a message.Address) {
	wire := a.String()
	if b, err := message.ParseAddress(wire); err != nil || a != b {
		t.Fatalf("%q is read back as %q, %v", wire, b, err)
	}
	if b, err := message.SplitAddress(a.Local + "@" + a.Domain); err != nil || a != b {
		t.Fatalf("%q is split into %q, %v", wire, b, err)
	}
	if len(wire) > 254 {
		t.Fatalf("%q takes %d octets", wire, len(wire))
	}
}

func TestAddressAsText(t *testing.T) {
	null := message.Address{}
	if b, err := null.MarshalText(); err != nil || len(b) != 0 {
		t.Errorf("the null sender is written %q, %v", b, err)
	}
	a := message.Address{Local: "x", Domain: "example.com"}
	if err := a.UnmarshalText(nil); err != nil || !a.IsNull() {
		t.Errorf("nothing is read as %q, %v", a, err)
	}
	if err := a.UnmarshalText([]byte(`"3rd floor"@example.com`)); err != nil || a.Local != "3rd floor" {
		t.Errorf("got %q, %v", a.Local, err)
	}
	if err := a.UnmarshalText([]byte("floor")); err == nil || !strings.Contains(err.Error(), `"floor"`) {
		t.Errorf("the error does not say what was read: %v", err)
	}
}

func address(t *testing.T, s string) message.Address {
	t.Helper()
	a, err := message.ParseAddress(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return a
}
