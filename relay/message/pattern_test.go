package message_test

import (
	"testing"

	"postern/relay/message"
)

func TestPatternMatch(t *testing.T) {
	for _, tt := range []struct {
		name, pattern, address string
		match                  bool
	}{
		{"a mailbox matches itself", "scan@example.com", "scan@example.com", true},
		{"a mailbox matches in any letter case", "Scan@Example.com", "sCAN@eXAMPLE.COM", true},
		{"a mailbox does not match its tagged form", "scan@example.com", "scan+boss@example.com", false},
		{"a mailbox does not match in a domain below", "scan@example.com", "scan@a.example.com", false},
		{"a long s is no s", "scan@example.com", "\u017fcan@example.com", false},
		{"a Kelvin sign is no k", "@k.example", "a@\u212a.example", false},
		{"a quoted mailbox matches its unquoted form", `"scan"@example.com`, "scan@example.com", true},
		{"a domain matches its mailboxes", "@example.com", "anyone@EXAMPLE.com", true},
		{"a domain does not match those below", "@example.com", "a@b.example.com", false},
		{"a domain does not match a longer name", "@example.com", "a@badexample.com", false},
		{"a domain does not match an @ in a local part", "@example.com", `"a@example.com"@evil.example`, false},
		{"a literal matches itself", "@[192.0.2.1]", "a@[192.0.2.1]", true},
		{"domains below match at any depth", "@*.example.com", "a@c.B.example.com", true},
		{"domains below do not include the parent", "@*.example.com", "a@example.com", false},
		{"domains below need a dot", "@*.example.com", "a@badexample.com", false},
		{"a star matches all", "*", `"odd one"@[192.0.2.1]`, true},
		{"a star does not match the null sender", "*", "", false},
		{"a domain does not match the null sender", "@example.com", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			patterns, err := message.ParsePatterns(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			var a message.Address
			if err := a.UnmarshalText([]byte(tt.address)); err != nil {
				t.Fatal(err)
			}
			if got := patterns.Match(a); got != tt.match {
				t.Errorf("%s matches %s: %t", tt.pattern, a, got)
			}
		})
	}
}

// An empty entry of a list in YAML leaves a zero Pattern; it must not open the
// gateway.
func TestZeroPatternMatchesNothing(t *testing.T) {
	if (message.Patterns{{}}).Match(address(t, "boss@example.com")) {
		t.Error("it matches")
	}
	if (message.Patterns{}).Match(address(t, "boss@example.com")) {
		t.Error("an empty list matches")
	}
}

func TestBadPatterns(t *testing.T) {
	for _, bad := range []string{"", "example.com", "scan", "@", "@*.", "*@example.com", "scan*@example.com", "@example..com", "**", "%u@example.com", "a@b@c"} {
		if p, err := message.ParsePatterns(bad); err == nil {
			t.Errorf("%q is taken for %s", bad, p)
		}
	}
}

func TestPatternsAsText(t *testing.T) {
	list, err := message.ParsePatterns("Scan@Example.com", "@*.example.com", "*")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := list.String(), "Scan@Example.com, @*.example.com, *"; got != want {
		t.Errorf("the list reads %q, want %q", got, want)
	}
	if text, err := list[1].MarshalText(); err != nil || string(text) != "@*.example.com" {
		t.Errorf("written as %q, %v", text, err)
	}
	if got := (message.Patterns{}).String(); got != "nothing" {
		t.Errorf("an empty list reads %q", got)
	}
}
