package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Writer writes an archive.
type Writer struct {
	path string
	made time.Time
	file *os.File
	gzip *gzip.Writer // nil when it is not compressed
	tar  *tar.Writer
	sums bytes.Buffer
}

// Create begins an archive that is to be found at path once it is committed;
// nothing may be there yet.
func Create(path string, head Head) (*Writer, error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s is there already; name another file", path)
		}
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, made: head.Made, file: f, tar: tar.NewWriter(f)}
	if zipped(path) {
		w.gzip = gzip.NewWriter(f)
		w.tar = tar.NewWriter(w.gzip)
	}
	head.Version = Version
	b, err := json.MarshalIndent(head, "", "  ")
	if err == nil {
		err = w.write(headName, int64(len(b)), head.Made, bytes.NewReader(b))
	}
	if err != nil {
		return nil, errors.Join(err, w.Discard())
	}
	return w, nil
}

// Add writes a message: its record, which is JSON, and that many octets of
// content. After an error the archive can only be discarded.
func (w *Writer) Add(id string, record []byte, size int64, content io.Reader) error {
	var b bytes.Buffer
	if err := json.Indent(&b, record, "", "  "); err != nil {
		return fmt.Errorf("record of %s: %w", id, err)
	}
	if err := w.write(id+"/"+recordName, int64(b.Len()), w.made, &b); err != nil {
		return err
	}
	return w.write(id+"/"+contentName, size, w.made, content)
}

// write adds a file and notes its checksum.
func (w *Writer) write(name string, size int64, at time.Time, content io.Reader) error {
	header := tar.Header{Name: name, Size: size, Mode: 0o600, ModTime: at, Typeflag: tar.TypeReg}
	if err := w.tar.WriteHeader(&header); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w.tar, sum), content)
	if err == nil && n < size {
		err = fmt.Errorf("%s: %w after %d octets of %d", name, io.ErrUnexpectedEOF, n, size)
	}
	if name != sumsName {
		fmt.Fprintf(&w.sums, "%x  %s\n", sum.Sum(nil), name)
	}
	return err
}

// Commit completes the archive and makes it durable under its name.
func (w *Writer) Commit() error {
	err := w.finish()
	if err == nil {
		err = os.Rename(w.file.Name(), w.path)
	}
	if err != nil {
		return errors.Join(err, w.Discard())
	}
	if err := syncDir(filepath.Dir(w.path)); err != nil {
		return errors.Join(err, os.Remove(w.path))
	}
	return nil
}

func (w *Writer) finish() error {
	sums := w.sums.Bytes()
	if err := w.write(sumsName, int64(len(sums)), w.made, bytes.NewReader(sums)); err != nil {
		return err
	}
	if err := w.tar.Close(); err != nil {
		return err
	}
	if w.gzip != nil {
		if err := w.gzip.Close(); err != nil {
			return err
		}
	}
	return errors.Join(w.file.Sync(), w.file.Close())
}

// Discard removes what was written.
func (w *Writer) Discard() error {
	w.file.Close() // it may be closed already
	return os.Remove(w.file.Name())
}

// syncDir makes the names in a directory durable, which Windows does by itself.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
