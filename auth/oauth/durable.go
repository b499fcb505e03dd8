package oauth

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// writeDurably replaces a file in one step, for its owner alone, and returns when
// neither content nor name can be lost. The directory is made if need be.
func writeDurably(path string, content []byte) error {
	tmp, err := writeBeside(path, content)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// createDurably is writeDurably for a file that may be there already, and then
// stays.
func createDurably(path string, content []byte) error {
	tmp, err := writeBeside(path, content)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeBeside writes a file that is to get the name path, and makes its content
// durable. It belongs to whom the directory belongs to: root may log in for the
// relay's user.
func writeBeside(path string, content []byte) (tmp string, err error) {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close(), handOver(f.Name(), dir))
	if err != nil {
		os.Remove(f.Name())
	}
	return f.Name(), err
}

// makeDir makes a directory for its owner alone, who is that of the one above.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	above := filepath.Dir(dir)
	return errors.Join(err, handOver(dir, above), syncDir(above))
}
