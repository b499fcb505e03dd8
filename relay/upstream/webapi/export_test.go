package webapi

import (
	"io"
	"time"
)

// What the tests see of the inside.
var (
	Wait       = wait
	WaitInText = waitInText
	ReadAnswer = readAnswer
)

// Outgoing is content being sent, which must have that size.
func Outgoing(source io.ReadCloser, size int64, moved func(whole bool)) io.ReadCloser {
	return &outgoing{source: source, size: size, moved: moved, closed: func() {}}
}

// Standard is the usual patience, with a short one for answers and blocks.
func Standard(block, answer time.Duration) Patience {
	p := standard
	p.Block, p.Answer = block, answer
	return p
}
