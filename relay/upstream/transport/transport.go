// Package transport is the vocabulary that the ways to an upstream share: what a
// message asks of them (Load) and what they carry (Offer), what they are given
// (Letter) and how its recipients fared (Result), what a reply asks of us
// (Advice), and why nothing was handed over ([Unreachable], [Unfit]).
//
// It is a leaf of the room upstream, which chooses among transports. How one of
// them speaks to its server is left to the packages beside it.
package transport

import (
	"context"
	"errors"

	"postern/relay/message"
)

// Transport carries messages to one upstream.
type Transport interface {
	// Send hands the letter over to all its recipients in one transaction. An error
	// means that nothing was handed over: an *Unreachable, an *Unfit, an Unprepared,
	// ErrStopping, or that of ctx. Without an error there is a result for each
	// recipient, in their order. A ctx that ends breaks the transaction off; the
	// results say what that left open.
	Send(ctx context.Context, l Letter) ([]Result, error)
	// Offer is what can be carried, as far as is known.
	Offer() Offer
	// Close drops what is kept open between messages. A Send that is under
	// way, or comes later, ends as ever but keeps nothing open.
	Close()
}

// Prepare makes of a message what a server is given that offers so much: it is
// asked once the offer is known and before the transaction, and once more if the
// session then turns out to be over. The recipients stay as many and in their
// order.
type Prepare func(Offer) (*message.Message, error)

// Letter is a message on its way to a transport.
type Letter struct {
	Prepare Prepare
	// Connecting is told when a session is begun for the letter: the first, or another
	// as the one before was over. What was prepared before says nothing of it any
	// more. nil: nobody wants to know.
	Connecting func()
	// Elsewhere tells whether another upstream may carry a load; then it is
	// rather not sent at all than not to everybody, and the error is an *Unfit.
	Elsewhere func(Load) bool
}

// Unprepared is an error of Prepare: the server has been reached.
type Unprepared struct{ Err error }

func (e Unprepared) Error() string { return e.Err.Error() }
func (e Unprepared) Unwrap() error { return e.Err }

// ErrStopping is what Send wraps once we were told to stop before the
// transaction began.
var ErrStopping = errors.New("the relay is stopping")

// Tokens are the OAuth 2.0 access tokens of one upstream (RFC 6749, section 1.4).
type Tokens interface {
	// Token is one that the server can be expected to take; it may have to be
	// fetched first. When only a person can help, the error is, or wraps, one that
	// is Lasting.
	Token(ctx context.Context) (string, error)
	// Reject says that the server refused the token: it is not handed out again.
	Reject(token string)
}

// Lasting is the error of Tokens that have come to an end: trying again helps
// only after somebody has done what Hint says.
type Lasting interface {
	error
	Lasting() bool
	Hint() string
}
