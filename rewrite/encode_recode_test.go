package rewrite_test

import (
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/relay/message"
	"postern/rewrite"
)

// recode is what becomes of a body in quoted-printable where that is damaged.
func recode(t interface{ Fatal(...any) }, body string) string {
	h, err := message.ParseHeader([]byte("Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	dressed, changes, err := rewrite.NewDressing("api", rewrite.Upstream{}).Dress(
		&message.Message{Header: h, Body: message.Bytes(body)}, rewrite.Offer{EightBit: true, NoQuotedPrintable: true})
	if err != nil || len(changes) == 0 || dressed.Header.Get("Content-Transfer-Encoding") != "base64" {
		t.Fatal(err, changes)
	}
	r, err := dressed.Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	decoded, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, r))
	if err != nil {
		t.Fatal(err)
	}
	return string(decoded)
}

func TestRecodingKeepsTheContent(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "word", "=", "=3D", "=3d", "=C3=BC", "=0D", " ", "   ", "\t", "=\r\n", "= \t\r\n", "\r\n", "\r\n.", "\r\n--", "=20\r\n", "\r\n\r\n"})
	rapid.Check(t, func(t *rapid.T) {
		body := strings.Join(rapid.SliceOfN(piece, 0, 40).Draw(t, "body"), "")
		want, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
		if err != nil {
			t.Skip(err) // the other reader takes it for damaged
		}
		if got := recode(t, body); got != string(want) {
			t.Fatalf("%q\nis read as %q\nwant       %q", body, got, want)
		}
	})
}

func TestWhatIsNoEscapeStandsForItself(t *testing.T) {
	for body, want := range map[string]string{
		"a = b":              "a = b",
		"a =ZZ b":            "a =ZZ b",
		"=":                  "",
		"==3D":               "==",
		"= =\r\n":            "= ",
		"x=4":                "x=4",
		"=  \r\ny":           "y",
		"end  ":              "end",
		"=\t x" + "\r\n":     "=\t x\r\n",
		"=0\r\n":             "=0\r\n",
		"a " + "\r\n" + " b": "a\r\n b",
	} {
		if got := recode(t, body); got != want {
			t.Errorf("%q is read as %q, want %q", body, got, want)
		}
	}
}
