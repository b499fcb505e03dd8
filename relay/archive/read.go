package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
)

// Reader reads an archive.
type Reader struct {
	Head
	// Messages is how many are in it.
	Messages int

	file *os.File
	sums map[string][sha256.Size]byte
}

// Message is one of an archive.
type Message struct {
	ID     string
	Record []byte
	// Content may be read until the next message is asked for. Its end is an
	// error when it is not what was found when the archive was opened.
	Content io.Reader
	Size    int64
}

// Open verifies an archive from its first octet to its last, and fails if
// anything is wrong with it.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &Reader{file: f, sums: map[string][sha256.Size]byte{}}
	if err := r.verify(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return r, nil
}

// Close ends reading.
func (r *Reader) Close() error { return r.file.Close() }

// rewind is the archive from its beginning.
func (r *Reader) rewind() (*tar.Reader, error) {
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if !zipped(r.file.Name()) {
		return tar.NewReader(r.file), nil
	}
	z, err := gzip.NewReader(r.file)
	if err != nil {
		return nil, damaged("it is not gzip: %v", err)
	}
	return tar.NewReader(z), nil
}

// verify reads all of it and compares it with its checksums.
func (r *Reader) verify() error {
	t, err := r.rewind()
	if err != nil {
		return err
	}
	h, err := t.Next()
	if err != nil || h.Name != headName {
		return fmt.Errorf("%w: it does not begin with %s; name a file that \"postern queue export\" has made", ErrDamaged, headName)
	}
	if err := r.readHead(t); err != nil {
		return err
	}
	before := ""
	for {
		h, err := t.Next()
		if err != nil {
			return damaged("it ends before its checksums: %v", err)
		}
		if h.Name == sumsName {
			return r.compare(t)
		}
		id, file, ok := belongs(h.Name)
		_, twice := r.sums[h.Name]
		switch {
		case !ok || h.Typeflag != tar.TypeReg || twice:
			return damaged("%q does not belong there", h.Name)
		case file == recordName && h.Size > MaxRecord:
			return damaged("%s has %d octets", h.Name, h.Size)
		case file == contentName && before != id+"/"+recordName, file == recordName && strings.HasSuffix(before, recordName):
			return damaged("%q does not belong there", h.Name)
		}
		if err := r.sum(h.Name, t); err != nil {
			return err
		}
		if before = h.Name; file == contentName {
			r.Messages++
		}
	}
}

func (r *Reader) readHead(t io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(t, maxHead))
	if err != nil {
		return damaged("%v", err)
	}
	if err := json.Unmarshal(b, &r.Head); err != nil || r.Version < 1 {
		return damaged("%s cannot be read", headName)
	}
	if r.Version > Version {
		return fmt.Errorf("it was made by a newer Postern (format %d, this one knows %d); import it with that version", r.Version, Version)
	}
	r.sums[headName] = sha256.Sum256(b)
	return nil
}

func (r *Reader) sum(name string, content io.Reader) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return damaged("%s: %v", name, err)
	}
	r.sums[name] = [sha256.Size]byte(sum.Sum(nil))
	return nil
}

// compare holds what was read against the list at the end, after which there is
// nothing.
func (r *Reader) compare(t *tar.Reader) error {
	list, err := io.ReadAll(io.LimitReader(t, maxSums))
	if err != nil {
		return damaged("%s: %v", sumsName, err)
	}
	listed := 0
	for line := range strings.Lines(string(list)) {
		want, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		sum, there := r.sums[name]
		switch {
		case !ok || !there:
			return damaged("it lacks %q", name)
		case hex.EncodeToString(sum[:]) != want:
			return damaged("%s does not have the checksum it was written with", name)
		}
		listed++
	}
	if listed != len(r.sums) {
		return damaged("%d of its %d files have no checksum", len(r.sums)-listed, len(r.sums))
	}
	if _, err := t.Next(); err != io.EOF {
		return damaged("something follows %s", sumsName)
	}
	return nil
}

// Each calls do for every message, in order, and ends with its first error.
func (r *Reader) Each(do func(Message) error) error {
	t, err := r.rewind()
	if err != nil {
		return err
	}
	var m Message
	for range 1 + 2*r.Messages {
		h, err := t.Next()
		if err != nil {
			return damaged("%v", err)
		}
		content := &checked{from: t, name: h.Name, sum: sha256.New(), want: r.sums[h.Name]}
		switch id, file, _ := belongs(h.Name); file {
		case recordName:
			m = Message{ID: id}
			if m.Record, err = io.ReadAll(io.LimitReader(content, MaxRecord)); err != nil {
				return err
			}
			var b bytes.Buffer
			if err := json.Compact(&b, m.Record); err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
			m.Record = b.Bytes()
		case contentName:
			m.Content, m.Size = content, h.Size
			if err := do(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// checked is a file that must be what it was when the archive was opened.
type checked struct {
	from io.Reader
	name string
	sum  hash.Hash
	want [sha256.Size]byte
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.sum.Write(p[:n])
	if err == io.EOF && [sha256.Size]byte(c.sum.Sum(nil)) != c.want {
		err = damaged("%s has changed since it was opened", c.name)
	}
	return n, err
}
