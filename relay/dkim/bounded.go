package dkim

import (
	"context"
	"fmt"
	"io"
)

// Bounds of what is signed, where the library takes time that grows with the
// square. It copies a field for each of its lines; and it keeps blank lines until
// it knows whether they end the message, and moves all of them with each block.
const (
	maxLines = 20_000
	maxBlank = 100_000
)

var (
	errLines = fmt.Errorf("its header has more than %d lines to be signed", maxLines)
	errBlank = fmt.Errorf("more than %d blank lines follow one another in it", maxBlank)
)

// bounded reads until ctx ends, or too many blank lines come.
type bounded struct {
	ctx   context.Context
	r     io.Reader
	blank int
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	for _, c := range p[:n] {
		switch c {
		case ' ', '\t', '\r':
		case '\n':
			b.blank++
		default:
			b.blank = 0
		}
		if b.blank > maxBlank {
			return 0, errBlank
		}
	}
	return n, err
}
