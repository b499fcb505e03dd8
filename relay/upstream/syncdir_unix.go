//go:build unix

package upstream

import (
	"errors"
	"os"
)

// syncDir makes a new name in the directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
