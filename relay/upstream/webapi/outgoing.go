package webapi

import (
	"errors"
	"fmt"
	"io"
)

// blockSize is how much content is read and sent at once, in octets.
const blockSize = 32 << 10

// unreadable is the error of content that cannot be read to a sound end.
type unreadable struct{ err error }

func (u unreadable) Error() string { return "the stored message cannot be read: " + u.err.Error() }
func (u unreadable) Unwrap() error { return u.err }

// outgoing is the content of one request being sent. It reads one block ahead:
// the last is handed out only once the source has ended well, so that damage
// found at the very end leaves the request without one.
type outgoing struct {
	source io.ReadCloser
	size   int64 // that the source must have
	// moved is told of each step, and whether it was the last.
	moved func(whole bool)
	// closed is told when it is.
	closed func()

	blocks [2][]byte // that handed out, and that behind it
	left   []byte    // of the one handed out
	total  int64     // octets read from the source
	ended  error     // io.EOF once the source has ended
}

func (o *outgoing) Read(p []byte) (int, error) {
	if len(o.left) == 0 {
		if err := o.turn(); err != nil {
			return 0, err
		}
	}
	n := copy(p, o.left)
	o.left = o.left[n:]
	o.moved(len(o.left) == 0 && o.ended != nil && len(o.blocks[1]) == 0)
	return n, nil
}

// turn takes the block that was read ahead and reads the one behind it.
func (o *outgoing) turn() error {
	if o.blocks[0] == nil {
		o.blocks[0], o.blocks[1] = make([]byte, 0, blockSize), make([]byte, 0, blockSize)
		o.fill()
	}
	o.blocks[0], o.blocks[1] = o.blocks[1], o.blocks[0]
	o.left = o.blocks[0]
	o.fill()
	switch {
	case o.ended != nil && !errors.Is(o.ended, io.EOF):
		return unreadable{o.ended}
	case o.total > o.size || o.ended != nil && o.total != o.size:
		return unreadable{fmt.Errorf("%d octets were found instead of %d", o.total, o.size)}
	case len(o.left) == 0:
		return io.EOF
	}
	return nil
}

// fill reads the block behind.
func (o *outgoing) fill() {
	block := o.blocks[1][:cap(o.blocks[1])]
	n := 0
	for n < len(block) && o.ended == nil {
		var more int
		more, o.ended = o.source.Read(block[n:])
		n += more
	}
	o.blocks[1] = block[:n]
	o.total += int64(n)
}

func (o *outgoing) Close() error {
	defer o.closed()
	return o.source.Close()
}
