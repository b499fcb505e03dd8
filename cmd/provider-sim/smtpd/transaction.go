package smtpd

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"postern/cmd/provider-sim/world"
)

func (s *Session) mail(rest string) error {
	from, params, ok := path(rest, "FROM:")
	switch {
	case !ok:
		return s.reply("mail", "501 5.5.4 Invalid arguments")
	case s.Mailbox == "":
		return s.reply("mail", s.server.Provider.Unknown())
	case s.begun:
		return s.reply("mail", "503 5.5.1 Sender already specified")
	}
	var size int64
	for _, p := range params {
		if value, ok := strings.CutPrefix(strings.ToUpper(p), "SIZE="); ok {
			size, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	if refused := s.server.Provider.Sender(s, from, size); refused != "" {
		s.reset()
		return s.reply("mail", refused)
	}
	s.begun, s.From = true, from
	instead, err := s.trouble("mail")
	if err != nil {
		return err
	}
	if instead != "" {
		s.reset()
	}
	return s.say("mail", cmp.Or(instead, "250 2.1.0 Sender OK"))
}

func (s *Session) rcpt(rest string) error {
	to, _, ok := path(rest, "TO:")
	switch {
	case !s.begun:
		return s.reply("rcpt", "503 5.5.1 Need mail command")
	case !ok || to == "":
		return s.reply("rcpt", "501 5.1.3 Invalid address")
	}
	if refused := s.server.Provider.Recipient(s, to); refused != "" {
		return s.reply("rcpt", refused)
	}
	instead, err := s.trouble("rcpt")
	if err != nil {
		return err
	}
	if instead == "" {
		s.To = append(s.To, to)
	}
	return s.say("rcpt", cmp.Or(instead, "250 2.1.5 Recipient OK"))
}

// path reads FROM:<...> or TO:<...> and what follows.
func path(rest, word string) (address string, params []string, ok bool) {
	if len(rest) < len(word) || !strings.EqualFold(rest[:len(word)], word) {
		return "", nil, false
	}
	rest = strings.TrimSpace(rest[len(word):])
	end := strings.LastIndexByte(rest, '>')
	if !strings.HasPrefix(rest, "<") || end < 0 {
		return "", nil, false
	}
	return rest[1:end], strings.Fields(rest[end+1:]), true
}

func (s *Session) data() error {
	if !s.begun || len(s.To) == 0 {
		return s.reply("data", "503 5.5.1 Need rcpt command")
	}
	instead, err := s.trouble("data")
	if err != nil {
		return err
	}
	if instead != "" {
		return s.say("data", instead)
	}
	if err := s.write("354 Start mail input; end with <CRLF>.<CRLF>"); err != nil {
		return err
	}
	return s.content(&dotReader{in: s.in, start: true})
}

// content answers the final dot. A fault there comes before the provider has
// accepted anything, or with Keep just after.
func (s *Session) content(r io.Reader) error {
	provider := s.server.Provider
	letter, err := s.World.Receive(r, provider.MaxSize())
	f := s.World.Fault(provider.Name(), "end")
	switch {
	case errors.Is(err, world.ErrTooLarge):
		s.reset()
		return s.say("end", provider.TooLarge())
	case err != nil && strings.Contains(err.Error(), "header"):
		s.reset()
		return s.say("end", "554 5.6.0 The message is malformed: "+err.Error())
	case err != nil:
		return err
	}
	if f != nil && !f.Keep {
		letter.Drop()
		return s.after(f, "451 4.3.0 Temporary failure")
	}
	reply := s.Late
	if reply == "" {
		reply = provider.Content(s, letter)
	} else {
		letter.Drop()
	}
	return s.after(f, reply)
}

// after ends the transaction with a reply, or with what goes wrong.
func (s *Session) after(f *world.Fault, reply string) error {
	defer s.reset()
	if f != nil {
		if err := s.fail(f); err != nil {
			return err
		}
		reply = cmp.Or(f.Reply, reply)
	}
	return s.say("end", reply)
}

// dotReader is the content up to the line of one dot, as it was before dots were
// doubled (RFC 5321, section 4.5.2).
type dotReader struct {
	in    *bufio.Reader
	start bool // of a line
	ended bool
	rest  []byte
}

func (d *dotReader) Read(b []byte) (int, error) {
	for len(d.rest) == 0 {
		if d.ended {
			return 0, io.EOF
		}
		line, err := d.in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return 0, io.ErrUnexpectedEOF
		}
		if d.start && bytes.Equal(line, []byte(".\r\n")) {
			d.ended = true
			continue
		}
		if d.start && line[0] == '.' {
			line = line[1:]
		}
		d.start = err == nil
		d.rest = line
	}
	n := copy(b, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// chunks are those of BDAT (RFC 3030) before the last.
type chunks struct{ file *os.File }

func (c *chunks) drop() {
	c.file.Close()
	os.Remove(c.file.Name())
}

func (s *Session) chunk(rest string) error {
	words := strings.Fields(rest)
	if len(words) == 0 {
		return s.reply("data", "501 5.5.4 Invalid arguments")
	}
	size, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil || size < 0 {
		return s.reply("data", "501 5.5.4 Invalid arguments")
	}
	chunk := io.LimitReader(s.in, size)
	if !s.begun || len(s.To) == 0 {
		io.Copy(io.Discard, chunk)
		return s.reply("data", "503 5.5.1 Need rcpt command")
	}
	if s.bdat == nil {
		f, err := os.CreateTemp(s.World.Dir, ".chunks-*")
		if err != nil {
			return err
		}
		s.bdat = &chunks{f}
	}
	if n, err := io.Copy(s.bdat.file, chunk); err != nil || n < size {
		return io.ErrUnexpectedEOF
	}
	if len(words) < 2 || !strings.EqualFold(words[1], "LAST") {
		return s.reply("data", "250 2.0.0 "+words[0]+" octets received")
	}
	if _, err := s.bdat.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return s.content(s.bdat.file)
}
