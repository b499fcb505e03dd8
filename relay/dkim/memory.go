package dkim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// remembered is what outlives a restart of one key: a key whose record was seen
// once signs on while DNS is out of reach.
type remembered struct {
	// Record is the name of the key's record, Key the SHA-256 of what it should
	// say. Another key under the same name is another key.
	Record string    `json:"record"`
	Key    string    `json:"key"`
	Known  time.Time `json:"known"`
	Seen   time.Time `json:"seen,omitzero"`
}

func memoryPath(dataDir string) string { return filepath.Join(dataDir, "dkim.json") }

// readMemory reads the file; none is an empty one.
func readMemory(path string) ([]remembered, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []remembered
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

// remember takes what is known of h from all, or notes that it is new.
func (h *held) remember(all []remembered, now time.Time) {
	h.known = now
	for _, r := range all {
		if r.Record == h.name() && r.Key == fingerprint(h.private) {
			h.known, h.seen = r.Known, r.Seen
		}
	}
}

// writeMemory replaces the file in one step. Should it be lost, records are
// merely looked up again.
func writeMemory(path string, all []remembered) error {
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".dkim-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(text, '\n'))
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// fingerprint names a key by what its record should say.
func fingerprint(p private) string {
	record, err := recordOf(p.Public())
	if err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(record))
	return hex.EncodeToString(sum[:])
}
