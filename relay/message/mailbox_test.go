package message_test

import (
	"io"
	"mime"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html/charset"
	"pgregory.net/rapid"

	"postern/relay/message"
)

func TestParseMailboxes(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a bare address", "scan@example.com", "scan@example.com"},
		{"a bare address in angle brackets", "<scan@example.com>", "scan@example.com"},
		{"a name of words and dots", "J. R. Scanner <scan@example.com>", "scan@example.com"},
		{"a quoted name with a comma and an escaped quote", `"Floor 3, \"left\"" <scan@example.com>`, "scan@example.com"},
		{"a quoted name that is an address", `"boss@corp.example" <scan@example.com>`, "scan@example.com"},
		{"an encoded name with a comma", "=?utf-8?Q?M=C3=BCller=2C_J=C3=B6rg?= <scan@example.com>", "scan@example.com"},
		{"an encoded name between quotes", `"=?utf-8?B?QsO8cm8=?=" <scan@example.com>`, "scan@example.com"},
		{"an encoded name in Windows-1252", "=?windows-1252?Q?B=FCro?= <scan@example.com>", "scan@example.com"},
		{"a Japanese name whose octets look like <", "=?ISO-2022-JP?B?GyRCJTwbKEI=?= <scan@example.com>", "scan@example.com"},
		{"a Japanese name whose octets look like @", "=?Shift_JIS?B?k2OShoFAkb4=?= <scan@example.com>", "scan@example.com"},
		{"a name in UTF-8", "Büro 3 <scan@example.com>", "scan@example.com"},
		{"a comment after the address", "scan@example.com (Scanner, floor 3)", "scan@example.com"},
		{"a folded value", "Scanner\t\t<scan@example.com>", "scan@example.com"},
		{"white space around", "  scan@example.com\t", "scan@example.com"},
		{"no space before the bracket", "Scanner<scan@example.com>", "scan@example.com"},
		{"a tag", "scan+3f@example.com", "scan+3f@example.com"},
		{"quotes around a local part that needs them for its dots", `"a..b"@example.com`, `"a..b"@example.com`},
		{"a literal", "scan@[192.0.2.1]", "scan@[192.0.2.1]"},
		{"an address in UTF-8", "dörte@bücher.example", "dörte@bücher.example"},
		{"several mailboxes", "a@example.com, B <b@example.com> , c@example.com (C)", "a@example.com b@example.com c@example.com"},
		{"a group", "Scanners: a@example.com, B <b@example.com>;", "a@example.com b@example.com"},
		{"a group beside a mailbox", "Scanners:;, a@example.com", "a@example.com"},

		{"nothing", "", ""},
		{"white space", " \t ", ""},
		{"the null address", "<>", ""},
		{"an empty group", "undisclosed-recipients:;", ""},
		{"a name alone", "Scanner", ""},
		{"an address before an angle address", "boss@corp.example <scan@example.com>", ""},
		{"an address, a comma and an angle address is two", "boss@corp.example, <scan@example.com>", "boss@corp.example scan@example.com"},
		{"an address after an angle address", "<scan@example.com> boss@corp.example", ""},
		{"two angle addresses", "<scan@example.com> <boss@corp.example>", ""},
		{"two addresses with a semicolon", "scan@example.com; boss@corp.example", ""},
		{"a name with a comma but no quotes", "Scanner, floor 3 <scan@example.com>", ""},
		{"a name with a colon but no quotes", "Scanner: floor 3 <scan@example.com>", ""},
		{"a group in a group", "a: b: scan@example.com;;", ""},
		{"a group of white space members", "a: , scan@example.com;", ""},
		{"an empty member at the start", ", scan@example.com", ""},
		{"an empty member at the end", "scan@example.com,", ""},
		{"a source route", "<@corp.example,@x.example:scan@example.com>", ""},
		{"white space around the @", "boss @ corp.example", ""},
		{"white space before an address in brackets", "< scan@example.com>", ""},
		{"white space after an address in brackets", "<scan@example.com >", ""},
		{"brackets that are not closed", "<scan@example.com", ""},
		{"an address cut by a fold", "scan@exam ple.com", ""},
		{"a comment in the address", "boss(x)@corp.example", ""},
		{"a comment in the brackets", "<boss@corp.example(x)>", ""},
		{"a comment that opens the value", "(x) scan@example.com", ""},
		{"a comment with an address", "scan@example.com (boss@corp.example)", ""},
		{"a comment with a bracket", "scan@example.com (<)", ""},
		{"a comment with a quote", `scan@example.com (")`, ""},
		{"a comment in a comment", "scan@example.com (a (b) c)", ""},
		{"a comment with an escape", `scan@example.com (\))`, ""},
		{"a comment that is not closed", "scan@example.com (a", ""},
		{"two @", "boss@corp.example@example.com", ""},
		{"an @ in a quoted local part", `"boss@corp.example"@example.com`, ""},
		{"a bracket in a quoted local part", `"boss>"@example.com`, ""},
		{"a space in a quoted local part", `"a b"@example.com`, ""},
		{"a quoted local part of two pieces", `"boss"."x"@example.com`, ""},
		{"an angle address in a quoted name", `"Boss <boss@corp.example>" <scan@example.com>`, ""},
		{"an address between escaped quotes", `"x\", boss@corp.example, \"" <scan@example.com>`, ""},
		{"a quote that is not closed", `"Boss <scan@example.com>`, ""},
		{"a backslash outside quotes", `bo\ss@example.com`, ""},
		{"a dot at the end of the local part", "boss.@example.com", ""},
		{"a domain without end", "scan@example.com.", ""},
		{"a literal that is not closed", "scan@[192.0.2.1", ""},
		{"a literal with an @ after an empty local part", `""@[@[192.0.2.1]`, ""},
		{"a literal with an @", `scan@[@[192.0.2.1]`, ""},
		{"brackets in a name", "[Scanner] <scan@example.com>", ""},
		{"an encoded word that hides an address", "=?utf-8?Q?boss=40corp=2Eexample=2C?= <scan@example.com>", ""},
		{"an encoded word that hides one in base64", "=?utf-8?B?Ym9zc0Bjb3Jw?= <scan@example.com>", ""},
		{"an encoded word that hides one between quotes", `"=?utf-8?Q?boss=40corp?=" <scan@example.com>`, ""},
		{"an encoded word that hides one in UTF-7", "=?utf-7?Q?boss+AEA-corp?= <scan@example.com>", ""},
		{"an encoded word that hides one in UTF-16", "=?utf-16be?B?AGEAQABi?= <scan@example.com>", ""},
		{"an encoded word that hides one in a comment", "scan@example.com (=?utf-8?Q?boss=40corp?=)", ""},
		{"an encoded word with a line end", "=?utf-8?Q?a=0D=0ABcc:_b?= <scan@example.com>", ""},
		{"an encoded word with a NUL", "=?utf-8?Q?a=00?= <scan@example.com>", ""},
		{"an encoded word as local part", "=?utf-8?Q?boss=3E?=@example.com", ""},
		{"a harmless encoded word as local part", "=?utf-8?Q?boss?=@example.com", ""},
		{"half an encoded word", "=?utf-8?Q?Boss <scan@example.com>", ""},
		{"an encoded word around another", "=?a?=?utf-8?Q?boss?= <scan@example.com>", ""},
		{"an encoded word in an unknown charset", "=?x-none?Q?Boss?= <scan@example.com>", ""},
		{"an empty encoded word", "=?utf-8?Q??= <scan@example.com>", ""},
		{"Latin-1 without encoding", "B\xfcro <scan@example.com>", ""},
		{"8-bit in the address", "sc\xe4n@example.com", ""},
		{"a full-width @", "boss\uff20corp.example@example.com", ""},
		{"a zero-width space", "scan\u200b@example.com", ""},
		{"a bare LF", "scan@example.com\nBcc: x", ""},
		{"a NUL", "scan@example.com\x00", ""},
		{"an escape character", "\x1b$B<scan@example.com>", ""},
		{"a C1 control", "\u0085scan@example.com", ""},
		{"more than 16 KiB", strings.Repeat("scan@example.com,", 1000) + "scan@example.com", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, err := message.ParseMailboxes(tt.in)
			if got := joined(found); got != tt.want {
				t.Errorf("%q names %q, want %q (%v)", tt.in, got, tt.want, err)
			}
			if (err != nil) != (tt.want == "") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func joined(found []message.Address) string {
	var texts []string
	for _, a := range found {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " ")
}

// Pieces of attacks on the readers of address lists.
var mailboxPieces = []string{
	"boss@corp.example", "<b@x.example>", "<", ">", "@", ",", ";", ":", " ", "\t", `"`, `\`, "(", ")", "[", "]", ".", "..", `"R, \"S"`,
	"(note)", "x.example", "boss", "=?utf-8?q?B=C3=BC?=", "=?utf-8?q?b=40c?=", "=?", "?=", "ü", "\xff", "\u200b", "grp:", "[192.0.2.1]",
}

// Address lists anyone reads the same, in all their forms.
var mailboxForms = []string{
	"a@x.example", "Ann B. <a@x.example>", `"Q, R" <a@x.example>`, "a@x.example (note)", "g: a@x.example, <c@x.example>;",
	`"boss@corp.example" <a@x.example>`, "=?utf-8?q?B=C3=BC?= <a@x.example>", `"a..b"@x.example`, "a@[192.0.2.1]", "g:;",
}

func TestMailboxesReadTheSameElsewhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := strings.Join(rapid.SliceOfN(rapid.SampledFrom(mailboxForms), 1, 3).Draw(t, "forms"), ", ")
		for _, piece := range rapid.SliceOfN(rapid.SampledFrom(mailboxPieces), 0, 3).Draw(t, "pieces") {
			at := rapid.IntRange(0, len(value)).Draw(t, "at")
			value = value[:at] + piece + value[at:]
		}
		checkMailboxes(t, value)
	})
}

func FuzzParseMailboxes(f *testing.F) {
	for _, s := range append(mailboxPieces, mailboxForms...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkMailboxes(t, s) })
}

// checkMailboxes compares ParseMailboxes with the parser of net/mail, which
// must read what we accept, and find the same addresses.
func checkMailboxes(t interface{ Fatalf(string, ...any) }, value string) {
	found, err := message.ParseMailboxes(value)
	if err != nil {
		if found != nil {
			t.Fatalf("addresses %q beside the error %v", found, err)
		}
		return
	}
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: func(name string, r io.Reader) (io.Reader, error) {
		return charset.NewReaderLabel(name, r)
	}}}
	others, err := parser.ParseList(value)
	if err != nil {
		t.Fatalf("%q names %q here; net/mail: %v", value, found, err)
	}
	var ours, theirs []string
	for _, a := range found {
		ours = append(ours, a.Local+"@"+a.Domain)
	}
	for _, a := range others {
		theirs = append(theirs, a.Address)
	}
	if len(ours) == 0 || !slices.Equal(ours, theirs) {
		t.Fatalf("%q names %q here, %q to net/mail", value, ours, theirs)
	}
}
