package queue

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"postern/relay/message"
)

// InlineLimit is the largest body, in octets, that is kept in its row. A larger
// one is written once, to a file; in the database it would be written two or
// three times and held in memory.
const InlineLimit = 32 << 10

// A CRC finds what disks and file systems do to data; whoever could forge one
// owns the directory anyway.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// body is a message.Body in the store: bytes of a row, or a file.
type body struct {
	data  []byte // when path is ""
	path  string
	size  int64
	sum   uint32 // CRC-32C
	eight bool

	spool *spool // that took it; nil when it was read from a row
	// damage is what was found wrong while it was read, so that the end of the
	// claim can set the message aside.
	damage atomic.Pointer[string]
}

func (b *body) Size() int64    { return b.size }
func (b *body) EightBit() bool { return b.eight }

// name is that of the file under spool/.
func (b *body) name() string { return filepath.Base(b.path) }

func (b *body) Open() (io.ReadCloser, error) {
	if b.path == "" {
		return io.NopCloser(bytes.NewReader(b.data)), nil
	}
	f, err := os.Open(b.path)
	if isGone(err) {
		return nil, b.damaged("its body file is missing")
	}
	if err != nil {
		return nil, err
	}
	return &bodyReader{body: b, file: f}, nil
}

// check looks for damage that shows without reading a whole file.
func (b *body) check() error {
	if b.path == "" {
		if int64(len(b.data)) != b.size || checksum(b.data) != b.sum {
			return b.damaged("its body does not have the checksum it was accepted with")
		}
		return nil
	}
	info, err := os.Stat(b.path)
	switch {
	case isGone(err):
		return b.damaged("its body file is missing")
	case err != nil: // whoever opens it meets our trouble and tries again later
	case info.Size() != b.size:
		return b.damaged("its body file has %d octets instead of %d", info.Size(), b.size)
	}
	return nil
}

func (b *body) damaged(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	b.damage.Store(&what)
	return fmt.Errorf("%w: %s", message.ErrDamaged, what)
}

// bodyReader reads a body file and compares it with its checksum at the end.
type bodyReader struct {
	body *body
	file *os.File
	read int64
	sum  uint32
}

func (r *bodyReader) Read(p []byte) (int, error) {
	n, err := r.file.Read(p)
	r.sum = crc32.Update(r.sum, castagnoli, p[:n])
	if r.read += int64(n); r.read > r.body.size {
		return 0, r.body.damaged("its body file has more than %d octets", r.body.size)
	}
	if err != io.EOF {
		return n, err
	}
	if r.read < r.body.size {
		return 0, r.body.damaged("its body file has only %d octets of %d", r.read, r.body.size)
	}
	if r.sum != r.body.sum {
		return 0, r.body.damaged("its body file does not have the checksum it was accepted with")
	}
	return n, io.EOF
}

func (r *bodyReader) Close() error { return r.file.Close() }
