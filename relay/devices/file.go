package devices

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	fileName = "devices.json"
	// maxFile bounds what is read, in octets: 10,000 devices take some MiB.
	maxFile = 64 << 20
)

// Read is the inventory of a relay that does not run, or ran a minute ago.
func Read(dataDir string) ([]Device, error) {
	return read(filepath.Join(dataDir, fileName))
}

// read is empty where there is no file.
func read(path string) ([]Device, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, err
	}
	var all []Device
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, device := range all {
		if !device.Address.IsValid() {
			return nil, fmt.Errorf("%s: a device has no address", path)
		}
	}
	return all, nil
}

// setAside keeps a file that cannot be read for a person to look at.
func (d *Devices) setAside(why error) {
	aside := d.path + ".damaged"
	why = errors.Join(why, os.Rename(d.path, aside))
	d.log.Error("the list of devices cannot be read; it is set aside, and a new one begun", "error", why, "file", aside)
}

// Save writes what changed. It is asked each minute and at the end: what is lost
// in between is when some devices were last seen.
func (d *Devices) Save() error {
	d.mu.Lock()
	all, changed := d.list(), d.changed
	d.changed = false
	d.mu.Unlock()
	if !changed {
		return nil
	}
	if err := d.write(all); err != nil {
		d.mu.Lock()
		d.changed = true
		d.mu.Unlock()
		return fmt.Errorf("the list of devices cannot be kept: %w", err)
	}
	return nil
}

// write replaces the file as a whole, so that a reader or a power cut meets the
// old one or the new one.
func (d *Devices) write(all []Device) error {
	f, err := os.OpenFile(d.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	e := json.NewEncoder(f)
	e.SetIndent("", " ")
	err = e.Encode(all)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), d.path)
}
