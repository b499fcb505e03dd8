package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// captureDir is the directory in the data directory, and how replies name it.
const captureDir = "capture"

// capture keeps messages in files instead of sending them.
type capture struct{ dir string }

func newCapture(dataDir string) *capture { return &capture{dir: filepath.Join(dataDir, captureDir)} }

// Send implements transport.Transport: it writes m to a file of its own. What cannot be written is deferred.
func (c *capture) Send(ctx context.Context, l transport.Letter) ([]transport.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	m, err := l.Prepare(transport.Anything)
	if err != nil {
		return nil, transport.Unprepared{Err: err}
	}
	results := make([]transport.Result, len(m.To))
	name, err := c.keep(m)
	for i := range results {
		if err != nil {
			results[i] = transport.Own(message.Deferred, "4.3.0", "the message cannot be captured: %v", err)
		} else {
			results[i] = transport.Result{Result: message.Result{Outcome: message.Delivered,
				Reply: message.Reply{Code: 250, Enhanced: "2.0.0", Text: "captured as " + captureDir + "/" + name}}}
		}
	}
	return results, nil
}

func (c *capture) Offer() transport.Offer { return transport.Anything }

func (c *capture) Close() {}

// keep writes m durably and names the file. Of one that cannot be written
// whole nothing stays.
func (c *capture) keep(m *message.Message) (name string, err error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	file, name, err := create(root, m.ID)
	if err != nil {
		return "", err
	}
	err = errors.Join(write(file, m), file.Sync(), file.Close(), syncDir(c.dir))
	if err != nil {
		return "", errors.Join(err, root.Remove(name))
	}
	return name, nil
}

// create makes the file of a message: <id>.eml, <id>-2.eml for the next
// delivery of it, and so on.
func create(root *os.Root, id string) (*os.File, string, error) {
	name := id + ".eml"
	for n := 2; ; n++ {
		file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return file, name, err
		}
		name = fmt.Sprintf("%s-%d.eml", id, n)
	}
}

// write puts the envelope on top of the message.
func write(file io.Writer, m *message.Message) error {
	content, err := m.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	w := bufio.NewWriterSize(file, 32<<10)
	fmt.Fprintf(w, "Return-Path: <%s>\r\n", m.From)
	for _, r := range m.To {
		fmt.Fprintf(w, "X-Envelope-To: <%s>\r\n", r.Address)
	}
	if _, err := io.Copy(w, content); err != nil {
		return err
	}
	return w.Flush()
}
