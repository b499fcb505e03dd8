//go:build linux

package main_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
)

const recipient = "you@mail.example.com"

// letter is a message to submit.
type letter struct {
	id   string // its Message-ID without the brackets: how it is found again
	from string
	to   []string
	data []byte // CRLF line ends
}

var letters atomic.Int64

func newID() string {
	return fmt.Sprintf("letter-%d.%08x@example.com", letters.Add(1), rand.Uint32())
}

// newLetter makes a message with every field a message must have, so that the
// relay has nothing to complete.
func newLetter(body string) letter {
	l := letter{id: newID(), from: sender, to: []string{recipient}}
	l.data = []byte("From: Scanner 3F <" + sender + ">\r\nTo: <" + recipient + ">\r\n" +
		"Date: Mon, 02 Mar 2026 09:00:00 +0100\r\nMessage-ID: <" + l.id + ">\r\nSubject: a letter\r\n" +
		"\r\n" + body)
	return l
}

// oddLetter has what gateways like to spoil: odd spacing and folding in the
// header, dots, blanks and "From " at line starts, a line of the greatest
// length, no end of line blanks lost; with eightBit also octets over 127.
func oddLetter(eightBit bool) letter {
	l := letter{id: newID(), from: sender, to: []string{recipient}}
	header := "from:Scanner 3F <" + sender + ">\r\nTo:   <" + recipient + ">\r\n" +
		"DATE: Mon, 02 Mar 2026 09:00:00 +0100\r\nMessage-Id:\r\n <" + l.id + ">\r\n" +
		"Subject:  two  blanks and\r\n\ta tab\r\nX-Empty:\r\nX-twice: one\r\nX-Twice: two\r\n" +
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x; h=from;\r\n bh=abc=; b=def=\r\n"
	body := "first\r\n.\r\n..\r\n.dot\r\n\r\n \r\n trailing blanks  \r\n\ttab\t\r\nFrom here on\r\n>From there\r\n" +
		strings.Repeat("x", 998) + "\r\n=?utf-8?q?no_header?=\r\n" +
		"--part\r\nBcc: boss@example.com\r\nFrom: ceo@elsewhere.example\r\n\r\nas some scanners write into their MIME parts\r\n"
	if eightBit {
		header += "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
		body += "Grüße aus Köln\r\nnot utf-8: \xe4\xff\r\n"
	}
	l.data = []byte(header + "\r\n" + body + "\r\n")
	return l
}

// randomLetter makes bodies of a few bytes up to 100 KiB.
func randomLetter(r *rand.Rand) letter {
	var b strings.Builder
	size := r.IntN(3000)
	if r.IntN(50) == 0 {
		size = 100 << 10
	}
	for b.Len() < size {
		b.WriteString(randomLine(r))
		b.WriteString("\r\n")
	}
	return newLetter(b.String())
}

func randomLine(r *rand.Rand) string {
	switch r.IntN(8) {
	case 0:
		return strings.Repeat(".", 1+r.IntN(4))
	case 1:
		return "." + randomText(r, 40)
	case 2:
		return ""
	case 3:
		return "äöü \xff\x80 " + randomText(r, 20)
	case 4:
		return strings.Repeat("long ", 199)
	default:
		return randomText(r, r.IntN(70))
	}
}

func randomText(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)
}

// mustBeIntact compares a copy with what was sent, octet by octet: on top of it
// may stand Postern's Received and nothing else.
func mustBeIntact(t testing.TB, l letter, a arrival) {
	t.Helper()
	if a.returnPath != l.from {
		t.Errorf("%s: return path %q, want %q", l.id, a.returnPath, l.from)
	}
	if !bytes.Equal(a.data, l.data) {
		t.Errorf("%s arrived changed:\n%s", l.id, difference(l.data, a.data))
	}
}

// difference shows where two texts part.
func difference(want, got []byte) string {
	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}
	around := func(b []byte) []byte { return b[max(0, i-40):min(len(b), i+80)] }
	return fmt.Sprintf("at octet %d (of %d and %d)\nwant ...%q\ngot  ...%q", i, len(want), len(got), around(want), around(got))
}
