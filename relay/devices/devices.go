// Package devices answers: which device? It remembers of every account and
// client address when it was last here, how it speaks and what went wrong last,
// so that who runs the relay can find the printer that fails, or the one that
// keeps an old TLS version alive. On demand it keeps what was said in one
// session (see [Recorder]).
//
// It is told of each connection when it has ended, and leaves to others what
// that came to (relay/submission). Nothing depends on it: what it cannot keep
// is said in the log, and mail goes on.
//
// It knows 10,000 devices at most, those seen in the last 90 days. When there are
// more, addresses that never logged in go first, however many those are:
// strangers on the Internet cannot push a device out.
package devices

import (
	"cmp"
	"container/list"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/relay/message"
)

const (
	most   = 10_000
	maxAge = 90 * 24 * time.Hour
	// maxTrouble bounds what is kept of a reply, in octets.
	maxTrouble = 500
)

// Device is what is known of one account at one client address, or, without an
// account, of an address as far as it did not log in. Its JSON is the file's
// and that of "postern devices --json": a promise to scripts.
type Device struct {
	Account string     `json:"account,omitempty"`
	User    string     `json:"user,omitempty"` // who logged in last, where the account stands for many
	Address netip.Addr `json:"address"`
	// Seen is when it was last here, Mailed when it last handed in a message,
	// Failed when something last went wrong.
	Seen   time.Time `json:"seen"`
	Mailed time.Time `json:"mailed,omitzero"`
	Failed time.Time `json:"failed,omitzero"`
	// Messages were accepted since it is known.
	Messages  int    `json:"messages"`
	Listener  string `json:"listener"`
	Hello     string `json:"hello"`
	TLS       string `json:"tls"` // such as "TLS 1.2"; empty: in clear
	Cipher    string `json:"cipher"`
	Mechanism string `json:"mechanism"`
	// Trouble is what went wrong last, Hint what to change.
	Trouble string `json:"trouble,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Failing tells whether nothing has gone well since something went wrong.
func (d Device) Failing() bool { return d.Failed.After(d.Mailed) }

// Version is its TLS version without the name: "1.2", or "none".
func (d Device) Version() string {
	if version, ok := strings.CutPrefix(d.TLS, "TLS "); ok {
		return version
	}
	return "none"
}

// Devices is the inventory of one data directory.
type Devices struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	byKey   map[key]*list.Element
	known   list.List // of *Device, the one seen last at the end
	unknown list.List // the same for those without an account
	changed bool      // since it was written
}

type key struct {
	account string
	address netip.Addr
}

// Open reads the inventory that is kept in dataDir. One that cannot be read is
// set aside, and a new one begun.
func Open(dataDir string, log *slog.Logger) *Devices {
	d := &Devices{path: filepath.Join(dataDir, fileName), log: log, byKey: make(map[key]*list.Element)}
	kept, err := read(d.path)
	if err != nil {
		d.setAside(err)
	}
	slices.SortStableFunc(kept, func(a, b Device) int { return a.Seen.Compare(b.Seen) })
	for _, device := range kept {
		d.add(&device)
	}
	return d
}

// Note takes in what a connection came to.
func (d *Devices) Note(v message.Visit) {
	address := v.Address.Addr().Unmap()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed = true
	d.forget(v.Ended.Add(-maxAge))
	if e := d.byKey[key{v.Account, address}]; e != nil {
		device := e.Value.(*Device)
		d.of(device).MoveToBack(e)
		device.note(v)
		return
	}
	device := &Device{Account: v.Account, Address: address}
	device.note(v)
	d.add(device)
}

// note brings the device up to date. A visit that ended before anything was said
// tells nothing of how the device usually speaks.
func (d *Device) note(v message.Visit) {
	v.Ended = v.Ended.UTC()
	d.Seen, d.User = v.Ended, v.User
	d.Messages += v.Messages
	if v.Messages > 0 {
		d.Mailed = v.Ended
	}
	if v.Trouble != "" {
		d.Failed, d.Trouble, d.Hint = v.Ended, v.Trouble[:min(len(v.Trouble), maxTrouble)], v.Hint
	}
	if d.Listener == "" || v.TLSVersion != "" || v.Messages > 0 {
		d.TLS, d.Cipher = v.TLSVersion, v.TLSCipher
	}
	d.Listener = v.Listener
	d.Hello = cmp.Or(v.Hello, d.Hello)
	d.Mechanism = cmp.Or(v.Mechanism, d.Mechanism)
}

// add takes in a device that is not known yet, if there is room for it.
func (d *Devices) add(device *Device) {
	if len(d.byKey) >= most && !d.drop(&d.unknown) {
		if device.Account == "" {
			return
		}
		d.drop(&d.known)
	}
	d.byKey[key{device.Account, device.Address}] = d.of(device).PushBack(device)
}

func (d *Devices) of(device *Device) *list.List {
	if device.Account == "" {
		return &d.unknown
	}
	return &d.known
}

// drop forgets the device of l that was not seen for longest, if there is one.
func (d *Devices) drop(l *list.List) bool {
	e := l.Front()
	if e == nil {
		return false
	}
	device := l.Remove(e).(*Device)
	delete(d.byKey, key{device.Account, device.Address})
	return true
}

// forget drops what was last seen before that time.
func (d *Devices) forget(before time.Time) {
	for _, l := range []*list.List{&d.known, &d.unknown} {
		for e := l.Front(); e != nil && e.Value.(*Device).Seen.Before(before); e = l.Front() {
			d.drop(l)
		}
	}
}

// List is every device, those of one account together.
func (d *Devices) List() []Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.list()
}

// list has those that never logged in at the end.
func (d *Devices) list() []Device {
	all := make([]Device, 0, len(d.byKey))
	for _, l := range []*list.List{&d.known, &d.unknown} {
		first := len(all)
		for e := l.Front(); e != nil; e = e.Next() {
			all = append(all, *e.Value.(*Device))
		}
		slices.SortFunc(all[first:], func(a, b Device) int {
			return cmp.Or(cmp.Compare(a.Account, b.Account), a.Address.Compare(b.Address))
		})
	}
	return all
}

// Count is how many devices with an account speak that TLS version, "1.2" or
// "none".
func (d *Devices) Count(version string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for e := d.known.Front(); e != nil; e = e.Next() {
		if e.Value.(*Device).Version() == version {
			n++
		}
	}
	return n
}
