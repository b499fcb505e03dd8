// Package submission answers: what was said? It speaks SMTP with the clients
// that submit mail (RFC 6409) and turns each transaction into one
// [message.Message] for its [Gateway].
//
// It leaves to others who a name and password belong to, what an account may
// do, how a message is completed and where it is kept: those are the
// Gateway's questions. It decides only what the protocol decides: TLS before
// AUTH, AUTH before MAIL, one transaction at a time, well-formed addresses,
// line ends and sizes.
//
// The words are spoken by go-smtp. Around it stand
//
//	door        an address we listen on; lets clients in and sets up TLS
//	generation  one configuration of a door: running sessions keep theirs
//	profile     what some clients are granted that others are not
//	guard       the connection under TLS: limits, deadlines, draining
//	talk        what was said, in clear: one command at a time, STARTTLS
//	session     the defensive half above go-smtp: order, addresses, failures
//	lines       what a message may consist of, on its way to the Spool
//
// A session passes these states, and none is skipped but that of TLS, where the
// listener says so:
//
//	clear -> TLS -> authenticated -> in transaction -> transferring -> answered
package submission

import (
	"context"
	"crypto/x509"
	"io"

	"postern/relay/message"
)

// Gateway is what a session asks of the relay. An error is told to the client:
// a *message.Reply, found by errors.As, as it is; anything else as 451 4.3.0
// with the cause in the log only. The context ends when the connection does.
type Gateway interface {
	// Connect decides whether a client is let in at all. A refusal is told
	// before the greeting and ends the connection.
	Connect(c message.Client) error

	// Who is it? Each way to log in asks one question. A 5yz reply counts
	// against the client; a 4yz one is our own trouble. The answer may be slow
	// on purpose: who guesses, waits.

	// Password tells whom a name and password prove.
	Password(ctx context.Context, c message.Client, name, password string) (message.Identity, error)
	// Bearer tells whom a token proves that was given with the login name, which
	// may be empty. A token refused is a *message.TokenRefusal.
	Bearer(ctx context.Context, c message.Client, name, token string) (message.Identity, error)
	// Certificate tells whom a client's certificate proves, its chain verified
	// by TLS, that was given with the login name, which may be empty.
	Certificate(ctx context.Context, c message.Client, name string, chain []*x509.Certificate) (message.Identity, error)
	// Challenge begins SCRAM-SHA-256 or CRAM-MD5.
	Challenge(ctx context.Context, c message.Client, mechanism string) (Challenge, error)
	// Trust tells who a client is that says MAIL without having logged in: a
	// device known by its address. For all others it is the 530 to tell.
	Trust(c message.Client) (message.Identity, error)

	// Mail decides on the sender. ID, Received, Client, From and the parameters
	// of MAIL are set; what rules make of the sender is noted in m. The message
	// may be of maxSize octets; 0 is no limit.
	Mail(ctx context.Context, m *message.Message) (maxSize int64, err error)
	// Recipient decides on r, and tells what rules made of it; m.To holds those
	// accepted so far.
	Recipient(ctx context.Context, m *message.Message, r message.Recipient) (message.Recipient, error)
	// Spool makes room for one body.
	Spool() Spool
	// Accept takes responsibility for m: when it returns nil the client is told
	// 250, and not before.
	Accept(ctx context.Context, m *message.Message) error

	// Left is told of every connection that has ended, also of those that were
	// turned away by TLS or at a limit. It must not wait for anything.
	Left(v message.Visit)
}

// Challenge is the server's side of a mechanism that takes several steps. It
// has the form of [sasl.Server]; Identity is asked for once it is done without
// error.
type Challenge interface {
	Next(response []byte) (challenge []byte, done bool, err error)
	Identity() message.Identity
}

// Spool takes a body as it arrives.
type Spool interface {
	io.Writer
	// Body is what was written; nothing is written after it.
	Body() (message.Body, error)
	// Discard forgets what was written, unless it was kept with a message. It is
	// called for every spool, whatever went wrong.
	Discard()
}
