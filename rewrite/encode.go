package rewrite

import (
	"io"

	"postern/relay/message"
)

// splice says what stands for the octets from and to, not included, of a body.
type splice struct {
	from, to int64
	as       form
	text     string // when as is verbatim
}

// form is how the octets of a splice are written.
type form int

const (
	verbatim   form = iota // other octets in their place
	printable              // quoted-printable (RFC 2045, section 6.7)
	inBase64               // base64 (section 6.8), without a line end behind the last line
	inBase64ln             // the same with it
	rewrapped              // base64 already, its lines cut
	recoded                // base64 of what was quoted-printable
)

func (s splice) encoder() encoder {
	switch s.as {
	case printable:
		return &printableEncoder{}
	case inBase64, inBase64ln:
		return &base64Encoder{ended: s.as == inBase64ln}
	case rewrapped:
		return &wrapper{}
	case recoded:
		return &recoder{}
	}
	return &replacement{s.text}
}

// transcoded is a body with splices in it, made while it is read: it is never in
// memory as a whole, and comes out the same each time.
type transcoded struct {
	source   message.Body
	splices  []splice // by their place; none overlap
	size     int64
	eightBit bool
}

// newTranscoded reads source once, to know the size of what comes out.
func newTranscoded(source message.Body, splices []splice) (*transcoded, error) {
	b := &transcoded{source: source, splices: splices}
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	block := make([]byte, blockSize)
	for {
		n, err := r.Read(block)
		b.size += int64(n)
		b.eightBit = b.eightBit || message.Bytes(block[:n]).EightBit()
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (b *transcoded) Size() int64    { return b.size }
func (b *transcoded) EightBit() bool { return b.eightBit }

// Open reads the source to its very end, where damage shows.
func (b *transcoded) Open() (io.ReadCloser, error) {
	source, err := b.source.Open()
	if err != nil {
		return nil, err
	}
	var parts []io.Reader
	at := int64(0)
	for _, s := range b.splices {
		parts = append(parts, io.LimitReader(source, s.from-at),
			&encodingReader{source: io.LimitReader(source, s.to-s.from), encoder: s.encoder()})
		at = s.to
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(append(parts, source)...), source}, nil
}

// blockSize is how much of a body is worked on at once, in octets.
const blockSize = 8 << 10

// encodingReader gives what encoder makes of source.
type encodingReader struct {
	source  io.Reader
	encoder encoder
	block   []byte
	made    []byte
	out     []byte // of made, what is not read yet
	err     error
}

func (r *encodingReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *encodingReader) fill() {
	if r.block == nil {
		r.block = make([]byte, blockSize)
	}
	n, err := r.source.Read(r.block)
	r.made = r.encoder.encode(r.made[:0], r.block[:n])
	if err == io.EOF {
		r.made = r.encoder.end(r.made)
	}
	r.out, r.err = r.made, err
}
