package submission

import (
	"net/netip"

	"postern/relay/message"
)

// Recorder keeps what was said in the sessions that somebody asked to see.
type Recorder interface {
	// Recording tells whether the session that begins now, of a client at that
	// address, may be one of them. Who wants that of an account has to say yes
	// to every address: the account is known only later. It is asked at each
	// connection and must be quick.
	Recording(client netip.Addr) bool
	// Record is told what was said in a session for which Recording was true,
	// when it has ended, and decides by c, who the client was in the end,
	// whether it is the one asked for. The lines of the transcript begin with
	// "C: " (the client), "S: " (we) or "* " (what happened), and end in "\n".
	// Credentials and the contents of messages were never in it.
	Record(c message.Client, transcript []byte)
}
