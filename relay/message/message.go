// Package message is the vocabulary every room speaks: a message and its
// envelope on their way through the gateway, addresses, header fields, SMTP
// replies and results.
//
// It is a leaf. It reads and writes the syntax of RFC 5321 and RFC 5322 and
// decides nothing: who may send, under which name, when and through whom is
// answered by the rooms that import it.
package message

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"io"
	"net/netip"
	"time"
)

// Message is one submission (RFC 5598, section 2.1): what a client handed us
// in one mail transaction. Everything but Header is fixed once it is received;
// Header is fixed once the message is accepted.
type Message struct {
	// ID is the queue id: told to the client in the 250, first in every log line.
	ID string
	Envelope
	Header Header
	Body   Body
	// Client is who handed us the message.
	Client Client
	// Received is when the client began the transaction.
	Received time.Time
	// About is set for mail of our own: the id of the message it reports on, or
	// "digest" when it is about many; "" for what a client handed us.
	About string
	// Changes is what the gateway did to the message before it was accepted, in
	// order.
	Changes []Change
}

// Size is the number of octets the message takes on the wire before
// dot-stuffing: header, the blank line, and body (RFC 1870, section 3).
func (m *Message) Size() int64 {
	return m.Header.Size() + 2 + m.Body.Size()
}

// NeedsEightBit tells whether any octet of the message is over 127, so that it
// can only travel under BODY=8BITMIME (RFC 6152).
func (m *Message) NeedsEightBit() bool {
	return m.Body.EightBit() || !m.Header.IsASCII()
}

// NeedsSMTPUTF8 tells whether an address of the envelope or any header field
// holds non-ASCII text, so that it can only travel under SMTPUTF8 (RFC 6531).
func (m *Message) NeedsSMTPUTF8() bool {
	if !m.From.IsASCII() || (m.SMTPUTF8 && !m.Header.IsASCII()) {
		return true
	}
	for _, r := range m.To {
		if !r.Address.IsASCII() {
			return true
		}
	}
	return false
}

// RoutedBy is the sender that chooses its route: the return path, or, of mail of
// our own, which has none, whom it goes to. A report leaves as the mail of the
// one it is for does.
func (m *Message) RoutedBy() Address {
	if m.About != "" && len(m.To) > 0 {
		return m.To[0].Address
	}
	return m.From
}

// Open reads the message as it goes on the wire: header, blank line, body,
// with CRLF line ends and without dot-stuffing.
func (m *Message) Open() (io.ReadCloser, error) {
	body, err := m.Body.Open()
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(m.Header.Reader(), body), body}, nil
}

// Envelope is what was said in MAIL and RCPT (RFC 5321, section 2.3.1), with
// the parameters that are carried on to the next hop.
type Envelope struct {
	// From is the return path. The zero Address is the null sender, <>.
	From Address
	To   []Recipient
	// Return is RET of RFC 3461: "FULL", "HDRS" or "".
	Return string
	// EnvelopeID is ENVID of RFC 3461, xtext decoded.
	EnvelopeID string
	// BodyType is BODY of RFC 6152: "7BIT", "8BITMIME" or "".
	BodyType string
	// SMTPUTF8 is set when the client asked for it (RFC 6531).
	SMTPUTF8 bool
	// DeclaredSize is SIZE of RFC 1870 in octets; 0 when not declared.
	DeclaredSize int64
}

// Recipient is one RCPT command.
type Recipient struct {
	Address Address
	// Notify is NOTIFY of RFC 3461: nil, or "NEVER", or any of "SUCCESS",
	// "FAILURE", "DELAY".
	Notify []string
	// OriginalType and Original are ORCPT of RFC 3461 ("rfc822" and the
	// address, xtext decoded); empty when not given.
	OriginalType, Original string
}

// Client is the other end of the session that submitted a message.
type Client struct {
	// Identity is who it proved to be.
	Identity
	// Mechanism is the SASL mechanism it used, such as "PLAIN"; empty for a
	// device that is known by its address alone.
	Mechanism string
	Address   netip.AddrPort
	// Hello is the argument of EHLO or HELO, printable ASCII only.
	Hello string
	// Extended is set for EHLO, unset for HELO.
	Extended bool
	// Listener is the configured name of the listener it came through.
	Listener string
	// TLSVersion ("TLS 1.3") and TLSCipher (RFC 8446 name) are empty in clear.
	TLSVersion, TLSCipher string
	// Repair is what its profile has mended in its messages.
	Repair Repairs
}

// Body is what follows the blank line after the header. It is immutable and
// may be opened any number of times, also at once.
type Body interface {
	// Open reads the body from its first octet. Damage found while reading is
	// returned as an error wrapping [ErrDamaged], never as an early io.EOF.
	Open() (io.ReadCloser, error)
	// Size is in octets.
	Size() int64
	// EightBit tells whether any octet is over 127.
	EightBit() bool
}

// Change is one thing the gateway did to a message, kept in its history.
type Change struct {
	// Rule names what asked for it, such as "date" or "rewrite[2]".
	Rule string `json:"rule"`
	// Field is the header field, or "envelope" for the sender in MAIL, or
	// "recipient" for those in RCPT.
	Field string `json:"field"`
	// Before and After are the values; "" when there was none.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Phase is how long one part of a delivery took, kept in the history.
type Phase struct {
	Phase   string  `json:"phase"`
	Seconds float64 `json:"seconds"`
}

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID makes a queue id: 16 characters, sorted by the millisecond it was made
// in, not to be guessed, the same in any letter case. It holds 42 bits of time
// (enough until 2109) and 38 random ones, which keep ids of one millisecond
// apart.
func NewID(now time.Time) string {
	var b [10]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	const random = 22
	first := binary.BigEndian.Uint64(b[:8])&(1<<random-1) | uint64(now.UnixMilli())<<random
	binary.BigEndian.PutUint64(b[:8], first)
	return idEncoding.EncodeToString(b[:])
}
