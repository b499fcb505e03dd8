package smtp

import (
	"bufio"
	"io"

	"postern/relay/message"
)

// What the tests see of the inside.
var (
	ReadReply = func(r io.Reader) (message.Reply, error) { return readReply(bufio.NewReaderSize(r, maxReplyLine)) }
	RemoteID  = remoteID
)

// Stuff writes content as it goes behind DATA, the pieces one by one.
func Stuff(w io.Writer, pieces ...[]byte) error {
	d := dotWriter{w: w, lineStart: true}
	for _, p := range pieces {
		if _, err := d.Write(p); err != nil {
			return err
		}
	}
	return d.end()
}
