package message_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"postern/relay/message"
)

func TestReadHeaderLeavesTheBody(t *testing.T) {
	for _, tt := range []struct {
		name, in, body string
		fields         []string // name=value
	}{
		{"two fields", "From: a@example.com\r\nSubject: hi\r\n\r\nbody\r\n", "body\r\n", []string{"From=a@example.com", "Subject=hi"}},
		{"no field at all", "\r\nbody\r\n", "body\r\n", nil},
		{"nothing", "", "", nil},
		{"no blank line at the end", "Subject: hi\r\n", "", []string{"Subject=hi"}},
		{"no space after the colon", "Subject:hi\r\n\r\n", "", []string{"Subject=hi"}},
		{"white space before the colon", "Subject \t: hi\r\n\r\n", "", []string{"Subject=hi"}},
		{"a colon in the value", "Subject: a: b\r\n\r\n", "", []string{"Subject=a: b"}},
		{"an empty value", "Subject:\r\n\r\n", "", []string{"Subject="}},
		{"folding with tab and space", "Subject: one\r\n\ttwo\r\n three\r\n\r\n", "", []string{"Subject=one\ttwo three"}},
		{"a value that begins on the second line", "Subject:\r\n hi\r\n\r\n", "", []string{"Subject=hi"}},
		{"a folded line of white space only", "Subject: a\r\n \r\nTo: b\r\n\r\n", "", []string{"Subject=a", "To=b"}},
		{"octets over 127 in a value", "Subject: B\xfcro\r\n\r\n", "", []string{"Subject=B\xfcro"}},
		{"a second blank line belongs to the body", "A: b\r\n\r\n\r\nC: d\r\n", "\r\nC: d\r\n", []string{"A=b"}},
		{"a line longer than the reader's buffer", "A: " + strings.Repeat("x", 9000) + "\r\n\r\nbody", "body", []string{"A=" + strings.Repeat("x", 9000)}},
		{"a CRLF cut in two by the reader's buffer", "A: " + strings.Repeat("x", 12) + "\r\nB: c\r\n\r\nbody", "body", []string{"A=" + strings.Repeat("x", 12), "B=c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(tt.in)), 16)
			h, err := message.ReadHeader(r)
			if err != nil {
				t.Fatal(err)
			}
			var fields []string
			for _, f := range h {
				fields = append(fields, f.Name()+"="+f.Value())
			}
			if fmt.Sprint(fields) != fmt.Sprint(tt.fields) {
				t.Errorf("fields are %q, want %q", fields, tt.fields)
			}
			if body, err := io.ReadAll(r); err != nil || string(body) != tt.body {
				t.Errorf("the body is %q, %v; want %q", body, err, tt.body)
			}
		})
	}
}

func TestReadHeaderRefusesMalformedLines(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"a line without colon", "From: a\r\nhello there\r\n\r\n"},
		{"no name before the colon", "From: a\r\n: b\r\n\r\n"},
		{"white space in a name", "Fr om: a\r\n\r\n"},
		{"a name cut by a fold", "From\r\n : a\r\n\r\n"},
		{"a control character in a name", "Fr\x0bom: a\r\n\r\n"},
		{"an octet over 127 in a name", "Fr\xf6m: a\r\n\r\n"},
		{"an mbox line", "From boss@example.com Mon Jan  1 10:00:00 2030\r\nTo: b\r\n\r\n"},
		{"a first line of white space", " \r\nFrom: a\r\n\r\n"},
		{"a fold with nothing before it", " From: a\r\n\r\n"},
		{"a NUL", "From: a\x00b\r\n\r\n"},
		{"a bare LF", "From: a\nBcc: b\r\n\r\n"},
		{"a bare LF at the end of the input", "From: a\n"},
		{"bare LFs only", "From: a\n\nbody\n"},
		{"a bare LF for the blank line", "From: a\r\n\nbody\r\n"},
		{"a bare CR", "From: a\rBcc: b\r\n\r\n"},
		{"a bare CR before CRLF", "From: a\r\r\n\r\n"},
		{"an end within a line", "From: a\r\nTo: b"},
		{"an end where the reader's buffer ends", "From: 7890123456"},
		{"an end between CR and LF", "From: a\r"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := message.ReadHeader(bufio.NewReaderSize(strings.NewReader(tt.in), 16))
			if !errors.Is(err, message.ErrHeaderMalformed) || h != nil {
				t.Errorf("got %d fields, %v", len(h), err)
			}
		})
	}
}

func TestReadHeaderLimits(t *testing.T) {
	line := "X: " + strings.Repeat("y", 990) + "\r\n"
	full := strings.Repeat(line, message.MaxHeaderSize/len(line))
	for _, tt := range []struct {
		name string
		in   string
		want error
	}{
		{"just under the size", full + "\r\n", nil},
		{"just over the size", full + line + "\r\n", message.ErrHeaderTooLarge},
		{"one line without end", strings.Repeat("x", message.MaxHeaderSize+1), message.ErrHeaderTooLarge},
		{"one field folded without end", "X: y\r\n" + strings.Repeat(" z\r\n", message.MaxHeaderSize/4), message.ErrHeaderTooLarge},
		{"as many fields as allowed", strings.Repeat("X: y\r\n", message.MaxHeaderFields) + "\r\n", nil},
		{"one field more", strings.Repeat("X: y\r\n", message.MaxHeaderFields+1) + "\r\n", message.ErrHeaderTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := message.ParseHeader([]byte(tt.in)); !errors.Is(err, tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestReadHeaderPassesOnReadErrors(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("From: a\r\nTo"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := message.ReadHeader(bufio.NewReader(broken)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

// What ReadHeader accepts, it gives back byte for byte.
func TestHeaderBytesAreThoseRead(t *testing.T) {
	text := rapid.StringMatching(`[ -~\t]{0,40}`)
	fold := rapid.SampledFrom([]string{"\r\n ", "\r\n\t", "\r\n \t ", ": ", "ü", "\xff"})
	value := rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for range rapid.IntRange(0, 4).Draw(t, "pieces") {
			b.WriteString(text.Draw(t, "text") + fold.Draw(t, "fold"))
		}
		return b.String() + text.Draw(t, "text")
	})
	field := rapid.Custom(func(t *rapid.T) string {
		return rapid.StringMatching(`[!-9;-~]{1,12}`).Draw(t, "name") +
			rapid.SampledFrom([]string{":", ": ", " :", "\t: ", ":\t"}).Draw(t, "colon") + value.Draw(t, "value") + "\r\n"
	})
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOfN(field, 0, 8).Draw(t, "fields")
		checkHeader(t, []byte(strings.Join(fields, "")+"\r\nbody"), len(fields))
	})
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"From: a\r\nTo: b\r\n\r\nbody", "A:\r\n b\r\n\r\n", "A : b\r\n", "\r\n", "", "A: b\n", " A: b\r\n", "A: b\r\n \r\n\r\n", "A\r\n", ":\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) { checkHeader(t, in, -1) })
}

// checkHeader reads in with a small buffer; fields is how many it must hold, or
// -1 when it may be refused.
func checkHeader(t interface{ Fatalf(string, ...any) }, in []byte, fields int) {
	r := bufio.NewReaderSize(bytes.NewReader(in), 16)
	h, err := message.ReadHeader(r)
	if err != nil {
		if fields >= 0 || h != nil {
			t.Fatalf("%q is refused: %v", in, err)
		}
		return
	}
	if fields >= 0 && len(h) != fields {
		t.Fatalf("%q has %d fields, want %d", in, len(h), fields)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("the body of %q: %v", in, err)
	}
	got := h.Bytes()
	if int64(len(got)) != h.Size() {
		t.Fatalf("Size of %q is %d, of its bytes %d", in, h.Size(), len(got))
	}
	whole := append(bytes.Clone(got), append([]byte("\r\n"), body...)...)
	if !bytes.Equal(whole, in) && !(len(body) == 0 && bytes.Equal(got, in)) {
		t.Fatalf("%q comes back as %q", in, whole)
	}
	for _, f := range h {
		if f.Name() == "" || strings.ContainsAny(f.Name(), " \t\r\n:") || strings.ContainsAny(f.Value(), "\r\n\x00") {
			t.Fatalf("%q has the field %q with value %q", in, f.Name(), f.Value())
		}
	}
	again, err := message.ParseHeader(got)
	if err != nil || !bytes.Equal(again.Bytes(), got) || len(again) != len(h) {
		t.Fatalf("%q is read again as %q, %v", got, again.Bytes(), err)
	}
}

func TestHeaderEditsShareNothingWithTheOriginal(t *testing.T) {
	h, err := message.ParseHeader([]byte("A: 1\r\nb: 2\r\nB: 3\r\nC: 4\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	before := string(h.Bytes())
	x, y := message.NewField("X", "x"), message.NewField("Y", "y")
	kept, removed := h.Remove("B")
	for _, tt := range []struct {
		name, want string
		got        message.Header
	}{
		{"fields put on top keep their order", "X: x\r\nY: y\r\n" + before, h.Prepend(x, y)},
		{"a field put at the end", before + "X: x\r\n", h.Append(x)},
		{"another at the end of the same header", before + "Y: y\r\n", h.Append(y)},
		{"every field of a name is taken out", "A: 1\r\nC: 4\r\n", kept},
		{"and given back", "b: 2\r\nB: 3\r\n", removed},
		{"all of a name", "b: 2\r\nB: 3\r\n", h.All("b")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.got.Bytes()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got := string(h.Bytes()); got != before {
		t.Errorf("the header became %q", got)
	}
	if h.Get("B") != "2" || h.Get("none") != "" {
		t.Errorf("Get gives %q and %q", h.Get("B"), h.Get("none"))
	}
	if whole, err := io.ReadAll(h.Reader()); err != nil || string(whole) != before+"\r\n" {
		t.Errorf("Reader gives %q, %v", whole, err)
	}
}
