package rewrite_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"postern/relay/message"
	"postern/rewrite"
)

// TestDressGolden dresses the message in.eml of every file under
// testdata/dress. The file's first lines say what it shows; config has "key:
// value" lines of the message and the offer, upstream the keys of the upstream;
// what must come of it is out.eml and changes, and the envelope if it changed;
// or unchanged; or refused, or next with the reply for when there is none. Line
// ends are LF in the files and CRLF in the messages.
func TestDressGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/dress/*.txtar")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			golden, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m, offer := toDress(t, part(golden, "config"), part(golden, "in.eml"))
			compare(t, file, golden, 3, dress(t, part(golden, "upstream"), m, offer))
		})
	}
}

// toDress reads the message of a golden file, and what it is offered.
func toDress(t *testing.T, config, in string) (*message.Message, rewrite.Offer) {
	t.Helper()
	header, body, _ := strings.Cut(strings.ReplaceAll(in, "\n", "\r\n"), "\r\n\r\n")
	m := submitted(t, header+"\r\n")
	m.Body = message.Bytes(body)
	var offer rewrite.Offer
	for line := range strings.Lines(config) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "sender":
			m.From = address(t, value)
		case "to":
			for a := range strings.FieldsSeq(value) {
				m.To = append(m.To, message.Recipient{Address: address(t, a)})
			}
		case "smtputf8":
			m.SMTPUTF8 = value == "true"
		case "repair":
			m.Client.Repair = repairs(t, value)
		case "offer":
			offer = rewrite.Offer{EightBit: strings.Contains(value, "8BITMIME"), UTF8: strings.Contains(value, "SMTPUTF8"),
				NoEnvelope: strings.Contains(value, "no envelope"), NoQuotedPrintable: strings.Contains(value, "no quoted-printable")}
		default:
			t.Fatalf("config has the unknown key %q", key)
		}
	}
	return m, offer
}

func address(t *testing.T, s string) (a message.Address) {
	t.Helper()
	if err := a.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return a
}

// dress dresses m and returns the parts that show what came of it.
func dress(t *testing.T, config string, m *message.Message, offer rewrite.Offer) []txtar.File {
	t.Helper()
	var u rewrite.Upstream
	decoder := yaml.NewDecoder(strings.NewReader(config))
	decoder.KnownFields(true)
	if err := decoder.Decode(&u); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	u.Check(func(key, format string, args ...any) { t.Errorf("%s: %s", key, fmt.Sprintf(format, args...)) })
	header, before := m.Header, string(envelope(m))
	dressed, changes, err := rewrite.NewDressing("m365", u).Dress(m, offer)
	if next := (*rewrite.Next)(nil); errors.As(err, &next) {
		checkRefused(t, next.Reply, m, header)
		return []txtar.File{{Name: "next", Data: []byte(next.Reply.Error() + "\n")}}
	}
	if err != nil {
		checkRefused(t, err, m, header)
		return []txtar.File{{Name: "refused", Data: []byte(err.Error() + "\n")}}
	}
	if dressed == m {
		return []txtar.File{{Name: "unchanged"}}
	}
	checkFits(t, dressed, offer)
	for _, c := range changes {
		if !slices.Contains(rewrite.DressingRules, c.Rule) {
			t.Errorf("%q is not among the rules of a Dressing", c.Rule)
		}
	}
	results := []txtar.File{
		{Name: "out.eml", Data: []byte(strings.ReplaceAll(read(t, dressed), "\r\n", "\n"))},
		{Name: "changes", Data: told(t, changes)},
	}
	if after := envelope(dressed); string(after) != before {
		results = append(results, txtar.File{Name: "envelope", Data: after})
	}
	return results
}

// read reads the message as it goes on the wire.
func read(t rapid.TB, m *message.Message) string {
	t.Helper()
	r, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkFits checks what a dressed message owes: it can be carried, reads the
// same each time, and knows its size.
func checkFits(t rapid.TB, m *message.Message, offer rewrite.Offer) {
	t.Helper()
	text := read(t, m)
	for _, r := range m.To {
		offer.UTF8 = offer.UTF8 || !r.Address.IsASCII() // is refused by the upstream, alone
	}
	if m.NeedsEightBit() && !offer.EightBit || m.NeedsSMTPUTF8() && !offer.UTF8 {
		t.Errorf("it cannot be carried: %+q", text)
	}
	if message.Bytes(text).EightBit() != m.NeedsEightBit() {
		t.Errorf("it is wrong about its octets: %+q", text)
	}
	if again := read(t, m); again != text {
		t.Errorf("read again it is\n%s\nand was\n%s", again, text)
	}
	if int64(len(text)) != m.Size() {
		t.Errorf("it says it has %d octets, and has %d", m.Size(), len(text))
	}
}
