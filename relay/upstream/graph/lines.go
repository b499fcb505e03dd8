package graph

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lineBlock is how much of a body is read at once, in octets.
const lineBlock = 32 << 10

// piece is a line of a body, or a part of a long one.
type piece struct {
	at    int64 // where it begins
	text  []byte
	first bool // it begins a line
}

// lines reads a body line by line.
type lines struct {
	r     *bufio.Reader
	at    int64
	ended bool // so was the line before
}

func newLines(r io.Reader) *lines {
	return &lines{r: bufio.NewReaderSize(r, lineBlock), ended: true}
}

// next is the next piece, good until the one after it is read, or io.EOF.
func (l *lines) next() (piece, error) {
	text, err := l.r.ReadSlice('\n')
	if len(text) == 0 || err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return piece{}, err
	}
	p := piece{at: l.at, text: text, first: l.ended}
	l.at += int64(len(text))
	l.ended = bytes.HasSuffix(text, []byte("\n"))
	return p, nil
}
