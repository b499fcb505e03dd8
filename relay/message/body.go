package message

import (
	"bytes"
	"errors"
	"io"
)

// ErrDamaged is wrapped by every error that says stored bytes are not those
// that were accepted.
var ErrDamaged = errors.New("damaged")

// Bytes is a body held in memory. The slice must not change any more.
type Bytes []byte

func (b Bytes) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
func (b Bytes) Size() int64                  { return int64(len(b)) }
func (b Bytes) EightBit() bool               { return !isASCII(b) }

func isASCII[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
