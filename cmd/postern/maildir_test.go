//go:build linux

package main_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
)

// maildir is where the smarthost delivers. Messages are told apart by their
// Message-ID, which every test makes unique.
type maildir struct {
	dir string

	mu      sync.Mutex
	arrived map[string][]arrival // by Message-ID
}

// arrival is one copy of a message as Postfix kept it, with CRLF line ends.
type arrival struct {
	returnPath, recipient string // as Postfix noted them
	relayID               string // the queue id in Postern's Received
	received              string // Postern's Received, unfolded
	data                  []byte // what follows that
	file                  []byte // all of it
}

// copies are the arrivals of a message until now.
func (m *maildir) copies(t testing.TB, messageID string) []arrival {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read(t)
	return m.arrived[messageID]
}

// await waits for the first copy of a message.
func (m *maildir) await(t testing.TB, messageID string) arrival {
	t.Helper()
	await(t, "message "+messageID+" to arrive", func() bool { return len(m.copies(t, messageID)) > 0 })
	return m.copies(t, messageID)[0]
}

// relayed is the message that Postern kept under a queue id.
func (m *maildir) relayed(t testing.TB, queueID string) (arrival, bool) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read(t)
	for _, copies := range m.arrived {
		for _, a := range copies {
			if a.relayID == queueID {
				return a, true
			}
		}
	}
	return arrival{}, false
}

// read takes in what is new, as a mail reader does: by moving it to cur.
func (m *maildir) read(t testing.TB) {
	t.Helper()
	if m.arrived == nil {
		m.arrived = map[string][]arrival{}
	}
	entries, err := os.ReadDir(filepath.Join(m.dir, "new"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(m.dir, "new", e.Name())
		id, a, ok := parseArrival(readFile(t, path))
		if !ok {
			t.Fatalf("%s does not begin as Postern and Postfix begin a message", path)
		}
		m.arrived[id] = append(m.arrived[id], a)
		if err := os.Rename(path, filepath.Join(m.dir, "cur", e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

var (
	// added is what Postfix puts on top, then Postern's signatures, if any, and
	// its trace field.
	added = regexp.MustCompile(`^Return-Path: <(.*)>\r\nX-Original-To: .*\r\nDelivered-To: (.*)\r\n` +
		`Received: from .*\r\n(?:[ \t].*\r\n)+` +
		`(?:DKIM-Signature: .*\r\n(?:[ \t].*\r\n)+)*` +
		`(Received: .*\r\n(?:[ \t].*\r\n)+)`)
	messageIDField = regexp.MustCompile(`(?im)^Message-ID:[ \t]*(?:\r\n[ \t]+)?<([^>]*)>`)
	queueID        = regexp.MustCompile(`[ \t]id ([0-9a-z]{16})\b`)
)

// parseArrival takes Postfix's and Postern's fields off a delivered file.
func parseArrival(file []byte) (messageID string, a arrival, ok bool) {
	file = bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n"))
	top := added.FindSubmatch(file)
	header, _, _ := bytes.Cut(file, []byte("\r\n\r\n"))
	id := messageIDField.FindSubmatch(header)
	if top == nil || id == nil {
		return "", a, false
	}
	a = arrival{
		returnPath: string(top[1]),
		recipient:  string(top[2]),
		received:   string(bytes.ReplaceAll(top[3], []byte("\r\n"), nil)),
		data:       file[len(top[0]):],
		file:       file,
	}
	if q := queueID.FindSubmatch(top[3]); q != nil {
		a.relayID = string(q[1])
	}
	return string(id[1]), a, true
}
