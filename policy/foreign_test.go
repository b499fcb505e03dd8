package policy_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/policy"
	"postern/relay/message"
)

// Pieces of attacks on the readers of address lists.
var pieces = []string{
	"boss@example.com", "<boss@example.com>", "<", ">", "@", ",", ";", ":", " ", "\r\n ", `"`, `\`, "(", ")", "(note)", "Ann", `"boss@example.com"`,
	"boss", ".", "=?utf-8?q?=40boss?=", "=?utf-8?q?B=C3=BC?=", "grp:", "ü", "[", "]", "scans.example.com", "\r\nFrom:", "\r\nX: ",
}

// Authors the account may be.
var authors = []string{
	"scan@example.com", "Ann <scan@example.com>", `"Q, R" <x@scans.example.com>`, "scan@example.com (note)", "grp: scan@example.com;",
	`"boss@example.com" <scan@example.com>`, "=?utf-8?q?B=C3=BC?= <scan@example.com>",
}

// A message that may pass names, to a naive reader too, nobody but whom the
// account may be: of the words with an @ that stand outside quoted strings and
// comments in its From and Sender fields, each is allowed.
func TestNoForeignMailboxPasses(t *testing.T) {
	p := office(t)
	rapid.Check(t, func(rt *rapid.T) {
		header := rapid.SampledFrom([]string{"From: ", "from :"}).Draw(rt, "name") +
			strings.Join(rapid.SliceOfN(rapid.SampledFrom(authors), 1, 2).Draw(rt, "authors"), ",") +
			rapid.SampledFrom([]string{"", "\r\nSender: scan@example.com"}).Draw(rt, "sender")
		for _, piece := range rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 3).Draw(rt, "pieces") {
			at := rapid.IntRange(0, len(header)).Draw(rt, "at")
			header = header[:at] + piece + header[at:]
		}
		checkNobodyForeign(rt, p, []byte(header+"\r\n"))
	})
}

func FuzzMessage(f *testing.F) {
	for _, s := range pieces {
		f.Add([]byte("From: " + s + "\r\n"))
		f.Add([]byte("From: scan@example.com\r\nSender: scan@example.com" + s + "\r\n"))
	}
	p := office(f)
	f.Fuzz(func(t *testing.T, header []byte) { checkNobodyForeign(t, p, header) })
}

func checkNobodyForeign(t interface{ Fatalf(string, ...any) }, p *policy.Policy, header []byte) {
	h, err := message.ParseHeader(header)
	if err != nil || p.Message(&message.Message{Header: h, Client: client}) != nil {
		return
	}
	names := 0
	whole, _, _ := strings.Cut(string(header), "\r\n\r\n") // what follows is body
	unfolded := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(whole)
	for line := range strings.SplitSeq(unfolded, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if name = strings.ToLower(strings.TrimSpace(name)); name != "from" && name != "sender" {
			continue
		}
		for _, w := range naiveAddresses(value) {
			names++
			if w = strings.ToLower(w); w != "scan@example.com" && !strings.HasSuffix(w, "@scans.example.com") {
				t.Fatalf("%q passes and names %q", header, w)
			}
		}
	}
	if names == 0 {
		t.Fatalf("%q passes and names nobody", header)
	}
}

// naiveAddresses are the words with an @ that are left when comments and
// quoted strings are dropped; of a quoted string before an @ the text is kept.
func naiveAddresses(value string) []string {
	var b strings.Builder
	for value != "" {
		n := 1
		switch value[0] {
		case '"':
			for n < len(value) && value[n] != '"' {
				if value[n] == '\\' {
					n++
				}
				n++
			}
			n = min(n+1, len(value))
			if strings.HasPrefix(value[n:], "@") {
				b.WriteString(strings.Trim(value[:n], `"`))
			}
		case '(':
			n = min(strings.IndexByte(value+")", ')')+1, len(value))
		default:
			b.WriteByte(value[0])
		}
		value = value[n:]
	}
	words := strings.FieldsFunc(b.String(), func(r rune) bool { return strings.ContainsRune(" \t<>,;:", r) })
	found := words[:0]
	for _, w := range words {
		if strings.Contains(w, "@") {
			found = append(found, w)
		}
	}
	return found
}
