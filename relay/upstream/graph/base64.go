package graph

import (
	"encoding/base64"
	"io"
)

// base64Block is how much is encoded at once, in octets: whole groups of three.
const base64Block = 24 << 10

// inBase64 reads what source holds as base64 without line ends. It takes the
// error of opening source as it comes.
func inBase64(source io.ReadCloser, err error) (io.ReadCloser, error) {
	if err != nil {
		return nil, err
	}
	return &base64Reader{ReadCloser: source}, nil
}

type base64Reader struct {
	io.ReadCloser
	block, made []byte
	left        []byte // of made
	err         error
}

func (r *base64Reader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

func (r *base64Reader) fill() {
	if r.block == nil {
		r.block = make([]byte, base64Block)
	}
	n, err := io.ReadFull(r.ReadCloser, r.block)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	r.err = err
	if err == nil || err == io.EOF {
		r.made = base64.StdEncoding.AppendEncode(r.made[:0], r.block[:n])
		r.left = r.made
	}
}
