package world

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Message is one that a provider has accepted.
type Message struct {
	ID       string `json:"id"`
	Provider string `json:"provider"`
	// Mailbox is who was logged in.
	Mailbox string `json:"mailbox"`
	// From and To are the envelope: To is who would get it.
	From string   `json:"from"`
	To   []string `json:"to"`
	// HeaderFrom, Subject and MessageID are fields of what was sent on.
	HeaderFrom string    `json:"header_from"`
	Subject    string    `json:"subject"`
	MessageID  string    `json:"message_id"`
	Size       int64     `json:"size"`
	SentItems  bool      `json:"sent_items"` // a copy lies in the mailbox
	At         time.Time `json:"at"`
	// File holds it as it was sent on.
	File string `json:"file"`
}

func (m Message) remove() { os.Remove(m.File) }

// Letter is content that was received and not accepted yet.
type Letter struct {
	Header []Field
	Size   int64
	body   *os.File
}

// Field is one of a header, Raw with its name and all line ends.
type Field struct{ Name, Raw string }

// ErrTooLarge is that of content beyond the limit.
var ErrTooLarge = errors.New("too large")

// maxHeader is where a header has become too long to be one.
const maxHeader = 1 << 20

// Receive reads content of at most limit octets to the end, also when it is
// refused as too large or has no sensible header.
func (w *World) Receive(r io.Reader, limit int64) (*Letter, error) {
	f, err := os.CreateTemp(w.Dir, ".receiving-*")
	if err != nil {
		return nil, err
	}
	l := &Letter{body: f}
	in := bufio.NewReaderSize(io.LimitReader(r, limit+1), 64<<10)
	header := 0
	for {
		line, err := in.ReadSlice('\n')
		l.Size += int64(len(line))
		if header += len(line); header > maxHeader || err == bufio.ErrBufferFull {
			return nil, l.refuse(r, errors.New("the header is too long"))
		}
		if err != nil && err != io.EOF {
			return nil, l.refuse(r, err)
		}
		if err == io.EOF && len(line) == 0 || len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		l.addLine(string(line))
	}
	n, err := io.Copy(f, in)
	l.Size += n
	if err == nil && l.Size > limit {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, l.refuse(r, err)
	}
	return l, nil
}

// refuse drops l and reads on, so that the end of the content is found.
func (l *Letter) refuse(r io.Reader, err error) error {
	l.Drop()
	if _, readErr := io.Copy(io.Discard, r); readErr != nil {
		return readErr
	}
	return err
}

// addLine adds a line of the header, or one that continues a field.
func (l *Letter) addLine(line string) {
	if n := len(l.Header); n > 0 && strings.IndexAny(line, " \t") == 0 {
		l.Header[n-1].Raw += line
		return
	}
	name, _, _ := strings.Cut(line, ":")
	l.Header = append(l.Header, Field{strings.TrimSpace(name), line})
}

// Drop forgets the content.
func (l *Letter) Drop() {
	l.body.Close()
	os.Remove(l.body.Name())
}

// Get is the value of the first field of that name, unfolded.
func (l *Letter) Get(name string) string {
	for _, f := range l.Header {
		if strings.EqualFold(f.Name, name) {
			_, value, _ := strings.Cut(f.Raw, ":")
			return strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "").Replace(value))
		}
	}
	return ""
}

// Set puts a field in place of those of that name.
func (l *Letter) Set(name, value string) {
	l.Remove(name)
	l.Header = append(l.Header, Field{name, name + ": " + value + "\r\n"})
}

// Remove takes out the fields of that name.
func (l *Letter) Remove(name string) {
	l.Header = slices.DeleteFunc(l.Header, func(f Field) bool { return strings.EqualFold(f.Name, name) })
}

// Addresses are those in all fields of these names, in their order and each once.
func (l *Letter) Addresses(names ...string) ([]string, error) {
	var found []string
	for _, f := range l.Header {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, f.Name) }) {
			continue
		}
		_, value, _ := strings.Cut(f.Raw, ":")
		if value = strings.TrimSpace(value); value == "" {
			continue
		}
		list, err := mail.ParseAddressList(value)
		if err != nil {
			return nil, fmt.Errorf("invalid %s header: %w", f.Name, err)
		}
		for _, a := range list {
			if !slices.ContainsFunc(found, func(s string) bool { return strings.EqualFold(s, a.Address) }) {
				found = append(found, a.Address)
			}
		}
	}
	return found, nil
}

// Keep accepts l as m, whose envelope and provider are given, and returns its id.
func (w *World) Keep(m Message, l *Letter) (id string, err error) {
	defer l.Drop()
	w.mu.Lock()
	w.lastID++
	m.ID = fmt.Sprintf("%06d", w.lastID)
	w.mu.Unlock()
	m.HeaderFrom, m.Subject, m.MessageID = l.Get("From"), l.Get("Subject"), l.Get("Message-ID")
	m.Size, m.At, m.File = l.Size, time.Now(), filepath.Join(w.Dir, m.ID+".eml")
	if err := l.write(m.File); err != nil {
		return "", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages = append(w.messages, m)
	w.stats.Counts[m.Provider+" accepted"]++
	w.log.Info("accepted", "id", m.ID, "provider", m.Provider, "mailbox", m.Mailbox, "from", m.From, "to", m.To, "size", m.Size)
	return m.ID, nil
}

func (l *Letter) write(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	out := bufio.NewWriter(f)
	for _, field := range l.Header {
		out.WriteString(field.Raw)
	}
	out.WriteString("\r\n")
	if _, err := l.body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(out, l.body); err != nil {
		return err
	}
	return errors.Join(out.Flush(), f.Close())
}

// Messages are those that were accepted, the oldest first.
func (w *World) Messages() []Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Message{}, w.messages...)
}

// Sent is how many octets the mailbox has sent through a provider.
func (w *World) Sent(provider, mailbox string) (octets int64) {
	for _, m := range w.Messages() {
		if m.Provider == provider && strings.EqualFold(m.Mailbox, mailbox) {
			octets += m.Size
		}
	}
	return octets
}
