package submission

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestLineEndsAreRepaired(t *testing.T) {
	for _, row := range []struct {
		name, text, want string
		count            int
	}{
		{"as they should be", "a\r\nb\r\n\r\n", "a\r\nb\r\n\r\n", 0},
		{"LF alone", "a\nb\n\nc\n", "a\r\nb\r\n\r\nc\r\n", 4},
		{"CR alone", "a\rb\r\rc\r", "a\r\nb\r\n\r\nc\r\n", 4},
		{"CR CR LF is one", "a\r\r\nb\r\r\n\r\r\nc", "a\r\nb\r\n\r\nc", 3},
		{"CR CR CR LF are two", "a\r\r\r\nb", "a\r\n\r\nb", 2},
		{"LF CR are two", "a\n\rb", "a\r\n\r\nb", 2},
		{"mixed", "a\nb\r\nc\rd", "a\r\nb\r\nc\r\nd", 2},
		{"a dot doubled behind LF alone", "a\n..b\n", "a\r\n.b\r\n", 2},
		{"a dot alone behind LF alone", "a\n.\nb", "a\r\n\r\nb", 2},
		{"a dot doubled where go-smtp has seen to it", "a\r\n..b", "a\r\n..b", 0},
		{"a dot within a line", "a\nb..c", "a\r\nb..c", 1},
		{"nothing", "", "", 0},
		{"NUL stays, to be refused", "a\x00\n", "a\x00\r\n", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{"at once": strings.NewReader(row.text), "octet by octet": iotest.OneByteReader(strings.NewReader(row.text))} {
				repaired := &repairer{r: r, dots: true}
				got, err := io.ReadAll(repaired)
				if err != nil || string(got) != row.want || repaired.count != row.count {
					t.Errorf("%s: got %q with %d repairs, %v; want %q with %d", how, got, repaired.count, err, row.want, row.count)
				}
			}
		})
	}
}

// Whatever comes, no CR or LF stands alone, the same text comes out of its second
// repair, and beside line ends and dots nothing changes.
func TestRepairedLineEnds(t *testing.T) {
	mended := func(t *rapid.T, text string) (string, int) {
		r := &repairer{r: strings.NewReader(text)}
		b, err := io.ReadAll(iotest.OneByteReader(r))
		if err != nil {
			t.Fatal(err)
		}
		return string(b), r.count
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("\r\n.ab\x00"))).Draw(t, "text")
		got, count := mended(t, text)
		bare := strings.NewReplacer("\r", "", "\n", "")
		if strings.ContainsAny(strings.ReplaceAll(got, "\r\n", ""), "\r\n") || bare.Replace(got) != bare.Replace(text) {
			t.Fatalf("%q became %q", text, got)
		}
		if again, n := mended(t, got); again != got || n != 0 || (count == 0) != (got == text) {
			t.Fatalf("%q became %q with %d repairs, and that %q", text, got, count, again)
		}
	})
}

// A read that fails is told, after what came before it.
func TestARepairedMessageThatBreaksOffIsNotWhole(t *testing.T) {
	r := &repairer{r: iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("a\nb")))}
	if got, err := io.ReadAll(r); err != iotest.ErrTimeout || string(got) != "a" {
		t.Errorf("got %q, %v", got, err)
	}
}

// What would smuggle a second message is one message, and says nothing that any
// server could take for an end.
func TestSequencesThatSmuggleAreRepairedAsOneMessage(t *testing.T) {
	p := openFor(t, Listener{TLS: "starttls", Profile: "fax"}, Profile{Name: "fax", LineEndings: "repair"})
	for _, row := range smuggling {
		for _, by := range []string{"DATA", "BDAT"} {
			t.Run(by+" with "+row.name, func(t *testing.T) {
				_, c, err := p.handshakeOver(t, "special", old(0x0304))
				if err != nil {
					t.Fatal(err)
				}
				c.login()
				c.envelope()
				before := len(p.accepted())
				text := "Subject: outer\r\n\r\nline" + row.octets + smuggled
				if by == "DATA" {
					c.ask("DATA", "354")
					c.send(text + ".\r\n")
				} else {
					c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
				}
				if strings.Contains(row.octets, "\x00") {
					c.expect("550 5.6.0 line ")
					return
				}
				c.expect("250 2.0.0 queued")
				c.ask("NOOP", "250 2.0.0 I have")
				c.ask("QUIT", "221")
				got := p.accepted()[before:]
				if len(got) != 1 || got[0].From.Local != "scan" || len(got[0].To) != 1 {
					t.Fatalf("%d messages were accepted: %+v", len(got), got)
				}
				all := whole(t, got[0])
				if strings.ContainsAny(strings.ReplaceAll(all, "\r\n", ""), "\r\n") || !strings.Contains(all, "MAIL FROM:<boss2@example.com>\r\n") {
					t.Errorf("it is %q", all)
				}
				if c := got[0].Changes; len(c) != 1 || c[0].Rule != RepairLineEndings || c[0].Field != "body" {
					t.Errorf("the changes are %+v", c)
				}
			})
		}
	}
}

// A message is as large as it is when it is repaired.
func TestARepairedMessageIsMeasuredAfterIt(t *testing.T) {
	p := openFor(t, Listener{TLS: "starttls", Profile: "fax"}, Profile{Name: "fax", LineEndings: "repair"})
	p.maxSize = 100
	_, c, err := p.handshakeOver(t, "special", old(0x0304))
	if err != nil {
		t.Fatal(err)
	}
	c.login()
	for size, want := range map[int]string{39: "250", 40: "552 5.3.4"} { // 20 octets of header
		c.envelope()
		c.ask("DATA", "354")
		c.ask("Subject: 0123456\r\n\n"+strings.Repeat("\n", size)+"\r\n.", want)
	}
	if got := p.accepted(); len(got) != 1 || got[0].Size() != int64(20+2*39+2) {
		t.Errorf("%d messages were accepted: %+v", len(got), got)
	}
}
