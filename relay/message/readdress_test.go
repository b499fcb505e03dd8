package message

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func toField(t testing.TB, raw string) Field {
	t.Helper()
	f, err := parseField([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var moved = Address{Local: "it desk", Domain: "example.com"}

// Every address of these is moved to "it desk"@example.com; of the rest of
// each field no octet changes.
func TestReaddress(t *testing.T) {
	const new = `"it desk"@example.com`
	for _, tt := range []struct{ name, field, want string }{
		{"an address alone", "To: a@x.example", "To: " + new},
		{"no space after the colon", "To:a@x.example", "To:" + new},
		{"white space around", "tO :\t a@x.example \t", "tO :\t " + new + " \t"},
		{"a name", "To: Ann Lee <a@x.example>", "To: Ann Lee <" + new + ">"},
		{"a name without a space", "To: Ann<a@x.example>", "To: Ann<" + new + ">"},
		{"a quoted name with all that separates", `To: "Lee, <Ann>: \"a@b\";" <a@x.example>`, `To: "Lee, <Ann>: \"a@b\";" <` + new + ">"},
		{"a name that is an address", "To: a@x.example <a@x.example>", "To: a@x.example <" + new + ">"},
		{"a name with a comma and no quotes", "To: Lee, Ann <a@x.example>", "To: Lee, Ann <" + new + ">"},
		{"a name with dots", "To: Ann B. Lee <a@x.example>", "To: Ann B. Lee <" + new + ">"},
		{"a name in brackets", "To: [Desk 5] Ann <a@x.example>", "To: [Desk 5] Ann <" + new + ">"},
		{"an encoded name", "To: =?utf-8?q?A=2C_n?= <a@x.example>", "To: =?utf-8?q?A=2C_n?= <" + new + ">"},
		{"a name in raw Latin-1", "To: J\xf6rg <a@x.example>", "To: J\xf6rg <" + new + ">"},
		{"a name in raw UTF-8", "To: Jörg <a@x.example>", "To: Jörg <" + new + ">"},
		{"an address outside ASCII", "To: jörg@bücher.example", "To: " + new},
		{"comments everywhere", "To: (a@b) Ann (c) < (d) a@x.example (e) > (f(g\\))h)", "To: (a@b) Ann (c) < (d) " + new + " (e) > (f(g\\))h)"},
		{"a comment for a name", "To: a@x.example (Lee, Ann)", "To: " + new + " (Lee, Ann)"},
		{"folded between mailboxes", "To: a@x.example,\r\n\tb@x.example\r\n ,\r\n c@x.example", "To: " + new + ",\r\n\t" + new + "\r\n ,\r\n " + new},
		{"folded before all", "To:\r\n a@x.example", "To:\r\n " + new},
		{"folded within a name", "To: Ann\r\n Lee\r\n\t<a@x.example>", "To: Ann\r\n Lee\r\n\t<" + new + ">"},
		{"folded within a quoted name", "To: \"Ann\r\n Lee\" <a@x.example>", "To: \"Ann\r\n Lee\" <" + new + ">"},
		{"folded within the address", "To: <a@x.\r\n example>", "To: <" + new + ">"},
		{"spaces within the address", "To: a . b @ x . example", "To: " + new},
		{"a quoted local part", `To: "a b"@x.example, "a\"b"@x.example`, "To: " + new + ", " + new},
		{"a local part half quoted", `To: "a".b@x.example`, "To: " + new},
		{"dots in wrong places", "To: a..b.@x.example", "To: " + new},
		{"a source route", "To: <@r.example,@s.example:a@x.example>", "To: <@r.example,@s.example:" + new + ">"},
		{"an address literal", "To: a@[192.0.2.1], a@[IPv6:2001:db8::1]", "To: " + new + ", " + new},
		{"a group", "To: Desk: a@x.example, B <b@x.example>;, c@x.example", "To: Desk: " + new + ", B <" + new + ">;, " + new},
		{"a group that is not closed", "To: Desk: a@x.example", "To: Desk: " + new},
		{"an empty group", "To: undisclosed-recipients:;", "To: undisclosed-recipients:;"},
		{"semicolons between mailboxes", "To: a@x.example; b@x.example;", "To: " + new + "; " + new + ";"},
		{"empty list elements", "To: ,a@x.example,, ,", "To: ," + new + ",, ,"},
		{"nothing", "To:", "To:"},
		{"an empty address", "To: Ann <>", "To: Ann <>"},
		{"what is none stays, the others move", "To: all of you, a@x.example, root, b@c@d, <a@x.example> <b@x.example>, Ann <a@x.example> x, <>",
			"To: all of you, " + new + ", root, b@c@d, <a@x.example> <b@x.example>, Ann <a@x.example> x, <>"},
		{"what is no address by its octets stays", "To: \xf6@x.example, a@-x.example, a@x..example, " + strings.Repeat("a", 65) + "@x.example",
			"To: \xf6@x.example, a@-x.example, a@x..example, " + strings.Repeat("a", 65) + "@x.example"},
		{"words without a dot are no local part", `To: a b@x.example, "a""b"@x.example, a"."b@x.example, a""@x.example`, `To: a b@x.example, "a""b"@x.example, a"."b@x.example, a""@x.example`},
		{"a quote that is not closed", `To: a@x.example, "Ann <b@x.example>`, `To: a@x.example, "Ann <b@x.example>`},
		{"a quote that ends in a backslash", `To: a@x.example, "\`, `To: a@x.example, "\`},
		{"a comment that is not closed", "To: a@x.example (:-(", "To: a@x.example (:-("},
		{"a bracket that is not closed", "To: a@x.example, a@[192.0.2.1", "To: a@x.example, a@[192.0.2.1"},
		{"an angle that is not closed", "To: Ann <a@x.example, b@x.example", "To: Ann <a@x.example, b@x.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := toField(t, tt.field+"\r\n")
			got, _ := f.Readdress(func(Address) Address { return moved })
			if string(got.Raw()) != tt.want+"\r\n" {
				t.Errorf("got  %q\nwant %q", got.Raw(), tt.want+"\r\n")
			}
			if got.Name() != f.Name() {
				t.Errorf("the name is %q now", got.Name())
			}
		})
	}
}

// What could not be read is told, so that who must be certain can refuse.
func TestMailboxesSaysWhatItCannotRead(t *testing.T) {
	for _, tt := range []struct {
		value string
		found int
		want  string
	}{
		{"a@x.example, Ann <b@x.example>", 2, ""},
		{"undisclosed-recipients:;", 0, ""},
		{"", 0, ""},
		{"a@x.example, all\r\n of you", 1, `"all\r\n of you" is not an address`},
		{"(nobody)", 0, `"(nobody)" is not an address`},
		{"<>", 0, `"<>" is not an address`},
		{`a@x.example, "b`, 0, "a quote is not closed"},
		{"a@x.example (", 0, "a ( is not closed"},
		{"a@x.example [", 0, "a [ is not closed"},
		{"a@x.example, <", 0, "a < is not closed"},
		{strings.Repeat("() ", 1001) + "a@x.example", 0, "an entry of it has more than 1000 words"},
	} {
		found, err := toField(t, "To: "+tt.value+"\r\n").Mailboxes()
		if len(found) != tt.found || (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%q has %d mailboxes, %v; want %d, %s", tt.value, len(found), err, tt.found, tt.want)
		}
	}
}

func TestOnly(t *testing.T) {
	for _, tt := range []struct{ name, field, want string }{
		{"one mailbox keeps all around it", "from : \r\n \"Lee, A\"\r\n <a@x.example> (c) \r\n", "from : \r\n \"Lee, A\"\r\n <it@example.com> (c) \r\n"},
		{"of several the first stays", "From: Ann <a@x.example>, b@x.example\r\n", "From: Ann <it@example.com>\r\n"},
		{"a member of a group leaves it", "From:\tDesk: Ann\r\n <a@x.example>;\r\n", "From:\tAnn\r\n <it@example.com>\r\n"},
		{"a bare address", "From:a@x.example\r\n", "From:it@example.com\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := toField(t, tt.field)
			found, err := f.Mailboxes()
			if err != nil {
				t.Fatal(err)
			}
			got := f.Only(found[0], Address{Local: "it", Domain: "example.com"})
			if string(got.Raw()) != tt.want {
				t.Errorf("got %q, want %q", got.Raw(), tt.want)
			}
			if f := toField(t, string(got.Raw())); f.Name() != got.Name() {
				t.Errorf("%q is a field named %q", got.Raw(), got.Name())
			}
		})
	}
}

func TestMailboxParts(t *testing.T) {
	f := toField(t, "To: b@x.example, (c) \"Ann\r\n Lee\" <a@x.example> (d) \r\n")
	found, err := f.Mailboxes()
	if err != nil || len(found) != 2 {
		t.Fatal(found, err)
	}
	m, raw := found[1], f.Raw()
	for _, tt := range []struct{ part, got, want string }{
		{"address", m.Address.String(), "a@x.example"},
		{"octets of the address", string(raw[m.Start:m.End]), "a@x.example"},
		{"name", string(raw[m.First:m.NameEnd]), "(c) \"Ann\r\n Lee\""},
		{"mailbox", string(raw[m.First:m.Last]), "(c) \"Ann\r\n Lee\" <a@x.example> (d)"},
		{"name of a bare address", string(raw[found[0].First:found[0].NameEnd]), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %q, want %q", tt.part, tt.got, tt.want)
		}
	}
}

// A list made of mailboxes has their addresses, whatever stands around them.
func TestMailboxesAreThoseWritten(t *testing.T) {
	space := rapid.SampledFrom([]string{"", " ", "\t", "\r\n ", "\r\n\t ", " (c) ", "(a@b, \"<;\\))"})
	local := rapid.SampledFrom([]string{"ann", "a.b", `"a@b, <c>"`, `"q\"\\"`, "jörg", "o'neil+x"})
	domain := rapid.SampledFrom([]string{"x.example", "[192.0.2.1]", "bücher.example", "X"})
	name := rapid.SampledFrom([]string{"Ann", `"Lee, Ann <a@b>;"`, "=?utf-8?q?=40?=", "J\xf6rg", "A. B."})
	rapid.Check(t, func(t *rapid.T) {
		var want []Address
		raw, group := "To:", false
		for range rapid.IntRange(0, 5).Draw(t, "mailboxes") {
			spec := local.Draw(t, "local") + "@" + domain.Draw(t, "domain")
			a, err := ParseAddress(spec)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, a)
			if !group && rapid.Bool().Draw(t, "group") {
				raw, group = raw+space.Draw(t, "space")+name.Draw(t, "name")+":", true
			}
			if rapid.Bool().Draw(t, "named") {
				spec = name.Draw(t, "name") + space.Draw(t, "space") + "<" + space.Draw(t, "space") + spec + space.Draw(t, "space") + ">"
			}
			raw += space.Draw(t, "space") + spec + space.Draw(t, "space")
			if group && rapid.Bool().Draw(t, "end") {
				raw, group = raw+";", false
			}
			raw += ","
		}
		f := Field{raw: []byte(raw + "\r\n"), name: 2}
		found, err := f.Mailboxes()
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if !slices.EqualFunc(found, want, func(m Mailbox, a Address) bool { return m.Address == a }) {
			t.Fatalf("%q has %v, want %v", raw, found, want)
		}
		checkReaddress(t, f)
	})
}

// checkReaddress holds, for any field: nothing replaced is nothing changed;
// what is replaced reads back; everything between stays.
func checkReaddress(t interface{ Fatalf(string, ...any) }, f Field) {
	same, _ := f.Readdress(func(a Address) Address { return a })
	if !bytes.Equal(same.raw, f.raw) {
		t.Fatalf("%q became %q, and nothing was replaced", f.raw, same.raw)
	}
	before, errBefore := f.Mailboxes()
	replaced := 0
	g, _ := f.Readdress(func(Address) Address {
		replaced++
		return Address{Local: fmt.Sprintf("new <%d>,", replaced), Domain: "example.com"}
	})
	after, errAfter := g.Mailboxes()
	if len(after) != len(before) || replaced != len(before) || (errBefore == nil) != (errAfter == nil) {
		t.Fatalf("%q has %d mailboxes (%v), %q has %d (%v)", f.raw, len(before), errBefore, g.raw, len(after), errAfter)
	}
	i, j := 0, 0
	for k := range before {
		b, a := before[k], after[k]
		if want := fmt.Sprintf("new <%d>,", k+1); a.Address.Local != want {
			t.Fatalf("%q reads back as %v", g.raw, after)
		}
		if !bytes.Equal(f.raw[i:b.Start], g.raw[j:a.Start]) {
			t.Fatalf("%q became %q", f.raw, g.raw)
		}
		if !bytes.Equal(f.raw[b.First:b.NameEnd], g.raw[a.First:a.NameEnd]) {
			t.Fatalf("the name in %q became another in %q", f.raw, g.raw)
		}
		i, j = b.End, a.End
	}
	if !bytes.Equal(f.raw[i:], g.raw[j:]) {
		t.Fatalf("%q became %q", f.raw, g.raw)
	}
	if len(before) > 0 {
		only, err := f.Only(before[0], moved).Mailboxes()
		if err != nil || len(only) != 1 || only[0].Address != moved {
			t.Fatalf("of %q stayed %q, %v", f.raw, f.Only(before[0], moved).raw, err)
		}
	}
}

// What strict readers see is what stands there: whom policy allows is whom the
// octets name.
func checkStrictAgrees(t interface{ Fatalf(string, ...any) }, f Field) {
	strict, err := ParseMailboxes(f.Value())
	if err != nil {
		return
	}
	found, err := f.Mailboxes()
	if err != nil || !slices.EqualFunc(found, strict, func(m Mailbox, a Address) bool { return m.Address == a }) {
		t.Fatalf("%q names %v to strict readers, and here %v, %v", f.raw, strict, found, err)
	}
}

func FuzzReaddress(f *testing.F) {
	for _, s := range []string{"a@x", "A <a@x>, g: b@y;", `"a\"b" <c@d>`, "(c(d)) a . b @ [1.2.3.4]", "<@a,@b:c@d>", "a\r\n b@c", "\"", "(", "[", "<", "\\", `a""@x`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		h, err := ParseHeader(append(append([]byte("To:"), value...), "\r\n"...))
		if err != nil || len(h) == 0 {
			return
		}
		checkReaddress(t, h[0])
		checkStrictAgrees(t, h[0])
	})
}

// A field of 200 KB with 5,000 recipients, and worse ones that would take
// minutes in quadratic time.
func TestReaddressOfLargeFields(t *testing.T) {
	raw := "To: " + strings.Repeat("Ann Lee <ann.lee@department.example>,\r\n ", 5000)
	f := toField(t, raw+"bob@example.com\r\n")
	if found, err := f.Mailboxes(); len(found) != 5001 || err != nil {
		t.Errorf("%d mailboxes, %v", len(found), err)
	}
	checkReaddress(t, f)
	for _, part := range []string{"(", "[", `"`, "<", ",", ":", "@", "a@b,", "()", `""`, "<>", "a ", `\`, "[]", "a@"} {
		checkReaddress(t, toField(t, "To: "+strings.Repeat(part, 1<<19/len(part))+"\r\n"))
	}
}
