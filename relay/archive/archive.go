// Package archive answers: what does mail look like on its way between two
// stores, or put by? It writes and reads one file with many messages, a tar that
// a person can look into, and leaves to others what is in it and what becomes of
// that:
//
//	postern-queue.json  the Head
//	ID/message.json     what the store knows of a message
//	ID/message.eml      its octets, as they go on the wire
//	...
//	SHA256SUMS          of all of these, as sha256sum(1) checks them
//
// It is compressed if its name ends in .gz or .tgz. A file of that name is
// complete: it is written under another and renamed when it is on the disk.
// Nothing is read of one before all of it has been found undamaged.
package archive

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// Version is that of the format. A newer one is not read.
const Version = 1

// Head is what an archive says of itself.
type Head struct {
	Version int `json:"version"`
	// Hostname is that of the relay it comes from.
	Hostname string    `json:"hostname"`
	Made     time.Time `json:"made"`
	// Moved is set when what is in it was taken out of that relay.
	Moved bool `json:"moved"`
}

// Names in an archive.
const (
	headName    = "postern-queue.json"
	sumsName    = "SHA256SUMS"
	recordName  = "message.json"
	contentName = "message.eml"
)

// Bounds of what is held in memory while an archive is read, in octets.
const (
	maxHead   = 64 << 10
	MaxRecord = 64 << 20
	maxSums   = 1 << 30
)

// ErrDamaged is wrapped by errors that say that an archive is not what was
// written.
var ErrDamaged = errors.New("the archive is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s; nothing was taken from it. Copy it again from where it was made, or use another", ErrDamaged, fmt.Sprintf(format, args...))
}

// zipped tells whether a file of that name is compressed.
func zipped(name string) bool {
	return strings.HasSuffix(name, ".gz") || strings.HasSuffix(name, ".tgz")
}

// isID tells whether s may stand for a message in a name: letters and digits.
func isID(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// belongs splits the name of a file that belongs to a message.
func belongs(name string) (id, file string, ok bool) {
	id, file = path.Dir(name), path.Base(name)
	return id, file, isID(id) && (file == recordName || file == contentName) && name == id+"/"+file
}
