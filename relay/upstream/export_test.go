package upstream

import (
	"bufio"
	"context"
	"io"
	"net"
	"time"

	"postern/relay/message"
)

// What the tests see of the inside.
var (
	ReadReply = func(r io.Reader) (message.Reply, error) { return readReply(bufio.NewReaderSize(r, maxReplyLine)) }
	RemoteID  = remoteID
	Pause     = pause
)

// JudgeAt judges a reply to MAIL, RCPT or DATA.
func JudgeAt(verb string, reply message.Reply) message.Outcome {
	return judge(map[string]stage{"MAIL": atMail, "RCPT": atRcpt, "DATA": atData, "DOT": atEnd}[verb], reply).Outcome
}

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

// Dial has the upstream of that name use dial.
func (s *Set) Dial(name string, dial func(context.Context) (net.Conn, error)) {
	s.upstreams[name].transport.(*smarthost).dial = dial
}

// Hurry shortens how long the upstream of that name is waited for at the end.
func (s *Set) Hurry(name string, block time.Duration) {
	s.upstreams[name].transport.(*smarthost).patience.block = block
}
