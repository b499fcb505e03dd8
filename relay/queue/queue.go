// Package queue keeps accepted messages until they are delivered or given up,
// and answers: when?
//
// It owns the durable store, the retry schedule, the claims and the history.
// It leaves to others which lane a message waits in (upstream) and what to do
// with a claim (relay).
//
// A message is one row, its content another while anything of it waits, and
// each recipient is a delivery, in one of these states:
//
//	queued     accepted, due now                             leaves by a claim
//	sending    durably claimed, before MAIL is said          leaves by its outcome
//	deferred   tried, to be tried again at its next time     leaves by a claim
//	held       waits for a person                            leaves by a person
//	uncertain  may have been sent; tried again only through  leaves by a claim
//	           the upstream it may have left by
//	delivered, failed, dropped                               the end
//
// A delivery whose owner died while sending is uncertain when the store is
// opened next. When the last recipient of a message ends, its content goes;
// its envelope and history stay for the retention.
package queue

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"postern/metrics"
	"postern/relay/message"
)

// Store is what every engine offers. All methods are safe for concurrent use.
type Store interface {
	Reader

	// Spool begins a body. Its content is not durable, and nothing of it shows
	// in the store, before Put.
	Spool() Spool

	// Ready is nil when Put may be expected to succeed, else the reply to give
	// a client: 452 4.3.1 while space is short, 451 4.3.0 when the store has
	// failed.
	Ready() error

	// Put makes m durable: header, body, one delivery per recipient and the
	// history row with its Changes, in one transaction. ways, parallel to m.To, say
	// where each waits. Those whose way names an upstream are claimed for it in the
	// same transaction, and a claim for each such lane, with m itself as its
	// message, is returned to be sent from memory; there is none when the store
	// cannot take outcomes just now. Errors are those of Ready, 552 5.3.4 for a
	// header too large to keep, or mean our trouble; in any case the message
	// has not been accepted.
	Put(ctx context.Context, m *message.Message, ways []Way) ([]*Claim, error)

	// Wait returns nil when a delivery of the lane is due, or the error of ctx
	// or of a failed store.
	Wait(ctx context.Context, lane string) error

	// Claim takes up to max messages that are due in the lane, each with its
	// due recipients, up to that many of them (0: all), in turns between accounts,
	// oldest first within one. The claim is durable before it returns. An entry
	// found damaged is set aside and the next one taken.
	Claim(ctx context.Context, lane, upstream string, max, recipients int) ([]*Claim, error)

	// Settle records how the recipients of a claim fared, outcomes parallel to
	// c.Message.To, with what was Made of it, decides what becomes of each, and
	// makes durable with that what the Reporter tells of it. While it cannot, because
	// the disk is full or another program has the database locked, it keeps
	// trying until ctx ends; until then nothing else is claimed, because an
	// outcome that is lost means mail sent twice.
	Settle(ctx context.Context, c *Claim, outcomes []Outcome, tell Reporter) ([]Settled, error)

	// Return gives back a claim of which nothing was sent: due at once, the
	// attempt not counted. A reason, if not "", goes to the history. It keeps
	// trying as Settle does.
	Return(ctx context.Context, c *Claim, reason string) error

	// Sweep gives up on deliveries that wait beyond their time, as Settle does, deletes history
	// past its retention or size, and brings times back from a future that the
	// clock has left: no delivery waits longer than the longest retry, and what
	// was received later than now was received now. Call it about once a minute.
	Sweep(ctx context.Context, tell Reporter) ([]Settled, error)

	// Warn asks, of every message that waits longer than warn_after, once, what
	// is told of the deliveries that wait, and returns those a report is about.
	Warn(ctx context.Context, tell Reporter) ([]Settled, error)

	// Digest puts one message in the queue about all that was left to the next
	// digest, and forgets that, in one transaction, once the first of it has
	// waited that long. It returns the id of the message, "" when it is not time.
	Digest(ctx context.Context, every time.Duration, write func(failures iter.Seq[Failure]) Report) (id string, err error)

	// Reroute asks route for the lanes of every message that has not ended and
	// moves its deliveries there, those pinned to an upstream excepted.
	Reroute(ctx context.Context, route Router) error

	// Act does what a person orders with deliveries that nobody is sending, and
	// tells for each message of the order how many of its recipients that
	// concerned, or why none. Reroute's route is asked for what is Lost.
	Act(ctx context.Context, o Order, route Router) ([]Acted, error)

	// BeginMove holds messages that are to leave for an archive, each whole or not
	// at all, and tells why not: one that is being sent is not. CancelMove makes of
	// them what they were; EndMove drops them, once the archive is durable. Until
	// one of these they are held, whatever happens to the process.
	BeginMove(ctx context.Context, ids []string, by, archive string) ([]Acted, error)
	CancelMove(ctx context.Context, ids []string, by, why string) ([]Acted, error)
	EndMove(ctx context.Context, ids []string, by, archive string) ([]Acted, error)

	// Pack is a message as it goes to an archive: that of a move as it was before.
	// The error is ErrNotFound when nothing of it waits any more, and a sentence
	// when it is damaged.
	Pack(ctx context.Context, id string) (*Parcel, error)

	// Unpack takes a message from another store in, unless it is here already, and
	// tells whether it did. A message that left this store by a move comes back.
	// Errors are those of Put.
	Unpack(ctx context.Context, p *Parcel, from string) (taken bool, err error)

	// Note adds a line to the history of a message, if the store still has it.
	Note(ctx context.Context, id, what, text string) error

	// Lanes counts the deliveries that wait, by lane.
	Lanes(ctx context.Context) (map[string]int, error)

	// Numbers is for metrics.
	Numbers(ctx context.Context) (metrics.QueueNumbers, error)

	// Configure puts other retry, expiry, retention and space settings in
	// force. Deliveries that wait keep the time they have been given, unless
	// it is beyond the longest retry.
	Configure(cfg Config)

	// Failed is closed when the store can no longer promise that what it says
	// is durable; Err is then the sentence to end the process with.
	Failed() <-chan struct{}
	Err() error
}

// Reader looks at the store without changing it.
type Reader interface {
	// List is the entries that match, without their history, at most 1000 at once:
	// those that have not ended by their ids, others as they were accepted.
	List(ctx context.Context, f Filter) ([]Entry, error)
	// Search is List in the order of acceptance, whether they have ended or not, and
	// how far it looked.
	Search(ctx context.Context, f Filter) (Found, error)
	// Show is one entry with history, and header and body if still there; the
	// error wraps ErrNotFound when there is none.
	Show(ctx context.Context, id string) (*Entry, error)
	// Accepted calls each for the messages accepted since then that the history
	// still has, latest first: for whom, when, and for how many recipients.
	Accepted(ctx context.Context, since time.Time, each func(account, user string, at time.Time, recipients int)) error
	Close() error
}

// ErrNotFound says that the store has no entry of that id.
var ErrNotFound = errors.New("no such message")

// Spool takes a body as it arrives. It is used by one goroutine.
type Spool interface {
	io.Writer
	// Body ends the body and makes it durable. Space running out is 452 4.3.1.
	Body() (message.Body, error)
	// Discard drops the body unless it was handed to a successful Put. It may
	// be called at any time, more than once.
	Discard()
}

// State is where a delivery stands.
type State string

// The states of a delivery, as the package comment explains them.
const (
	Queued    State = "queued"
	Sending   State = "sending"
	Deferred  State = "deferred"
	Held      State = "held"
	Uncertain State = "uncertain"
	Delivered State = "delivered"
	Failed    State = "failed"
	Dropped   State = "dropped"
)

// Ended tells whether nothing will happen to the delivery any more.
func (s State) Ended() bool { return s == Delivered || s == Failed || s == Dropped }

// Way is where one recipient of a new message waits, and the upstream it is
// claimed for at once; "" is none.
type Way struct{ Lane, Upstream string }

// Outcome is how one recipient of a claim fared, and where it goes from there.
type Outcome struct {
	message.Result
	// Lane is where it waits from now on, if it does; "" is where it waited. A
	// delivery that Reroute has moved since it was claimed stays where that was.
	Lane string
	// GoesOn: it is due at once, and this was no attempt of its own.
	GoesOn bool
	// Wait is how long it is deferred for, at each further attempt that much
	// longer; 0: as the schedule says.
	Wait time.Duration
}

// Waiting is a message that has not ended, as far as its lanes depend on it.
type Waiting struct {
	Account, Listener string
	From              message.Address // as [message.Message.RoutedBy]
	To                []message.Address
	Size              int64
	// Read is the whole message, with these recipients.
	Read func() (*message.Message, error)
}

// Router names the lane of each recipient of a message, in their order; "" is
// where it is.
type Router func(Waiting) []string

// Claim is the right and the duty to try a message now. It ends by Settle or
// Return, exactly once.
type Claim struct {
	// Message has only the claimed recipients in its envelope.
	Message *message.Message
	// Lane is where it waited, Upstream whom it was claimed for.
	Lane, Upstream string
	// Detour tells why it was not claimed for one that is preferred, for the
	// history; "" if it is the first.
	Detour string
	// Made is what an earlier attempt made of the message, if its signatures
	// were kept. Who claimed it replaces that by what this attempt made of it,
	// which Settle records.
	Made Made

	// Phases are how long the parts of the attempt took, for the history.
	Phases []message.Phase

	key        int64      // the message's row
	deliveries []Delivery // as they were when claimed, parallel to Message.To
	expected   bool       // the writer still counts on its outcome
}

// Made is what was made of a message for one upstream.
type Made struct {
	// Changes are in order. They go to the history.
	Changes []message.Change `json:"-"`
	// Signatures are the DKIM-Signature fields it got, each whole, kept while
	// the message waits so that a retry need not sign again.
	Signatures []string `json:"signatures"`
	// Signed tells what they were made of and by which keys: signatures are
	// used again only for the same.
	Signed string `json:"signed"`
	// At is when they were made.
	At time.Time `json:"at"`
	// DSN is set when the upstream was told who wants which reports, so that it
	// makes those of success.
	DSN bool `json:"-"`
}

// Delivery is how far one recipient has come.
type Delivery struct {
	Recipient message.Recipient
	State     State
	Lane      string
	// Upstream is the one last claimed for; "" before the first claim.
	Upstream string
	// Attempts counts those that ended in an outcome.
	Attempts int
	// NextAt is when it is due; zero when it waits for no time.
	NextAt time.Time
	// Reply is the last word of an upstream, or ours with Code 0.
	Reply message.Reply
	// RemoteID is the upstream's queue id once delivered, if it told one.
	RemoteID string

	// last is what the upstream said last, where Reply is what we say of it, and
	// expired that there was no more time.
	last    message.Reply
	expired bool

	n          int  // place among the message's recipients, from 0
	unreadable bool // Recipient is only what could be made of it
}

// Settled is what an outcome made of one recipient, for log, metrics and
// reports.
type Settled struct {
	ID, Account string
	From        message.Address
	Recipient   message.Address
	State       State
	Lane        string // where it waits now, or waited last
	Upstream    string
	Attempts    int
	NextAt      time.Time // zero when it waits for no time
	Received    time.Time
	Reply       message.Reply
	RemoteID    string
	// Last is what the upstream said last, if it said anything; Reply may be what
	// we say of it.
	Last message.Reply
	// Expired is set when it was given up because its time was over.
	Expired bool
	// Report is the id of the report that tells of it, "digest" when it is left to
	// the next one of these; "" if nothing does. ReportLane is where it waits.
	Report, ReportLane string
}

// Entry is a message as the store knows it.
type Entry struct {
	ID string
	message.Envelope
	Client   message.Client
	Received time.Time
	// About is the id of the message that this one reports on, "digest", or "".
	About string
	// Finished is when the last recipient ended; zero before.
	Finished time.Time
	// Size is in octets on the wire, header included.
	Size int64
	// Damaged says what is wrong with the stored content; "" if nothing is
	// known to be.
	Damaged    string
	Deliveries []Delivery // in the order of RCPT

	// Only by Show. Header and Body are nil when the message has ended or
	// cannot be read.
	History []Event
	Header  message.Header
	Body    message.Body
}

// Event is one row of a message's history.
type Event struct {
	At time.Time `json:"-"`
	// What happened: accepted, attempted, returned, interrupted (the process
	// died while sending), expired, reported, damaged, ended; or what a person ordered: retried,
	// held, released, dropped, settled, moved, not moved, imported; or what Note was told.
	What string `json:"-"`
	// Upstream is the one claimed for.
	Upstream string `json:"upstream,omitempty"`
	// Text explains, for a person.
	Text string `json:"text,omitempty"`
	// Changes is what the gateway did to the message before it was accepted, or
	// for this attempt.
	Changes []message.Change `json:"changes,omitempty"`
	// Phases is how long the parts of an attempt took, in their order.
	Phases []message.Phase `json:"phases,omitempty"`
	// Results is what became of each recipient concerned.
	Results []EventResult `json:"results,omitempty"`
}

// EventResult is what an event meant for one recipient.
type EventResult struct {
	Recipient string        `json:"recipient"`
	State     State         `json:"state"`
	Reply     message.Reply `json:"reply,omitzero"`
	RemoteID  string        `json:"remote_id,omitempty"`
	// By is the only upstreams of its route that may make the delivery now; nil is
	// all of them.
	By []string `json:"by,omitempty"`
}

// Found is what a search found.
type Found struct {
	Entries []Entry
	// Reach is when the newest message was received of those that were not looked
	// at, because the index does not know them yet and there are too many; zero when
	// all were.
	Reach time.Time
}

// Filter narrows a list. Zero fields do not narrow.
type Filter struct {
	// States: any recipient in one of them. None means all that have not ended,
	// or with All every one.
	States []State
	All    bool
	// ID, Account, Sender (the return path; <> is the null one), Recipient and
	// RemoteID in any letter case, Lane exactly.
	ID, Account, Sender, Recipient, RemoteID, Lane string
	// Reply is words that the replies of its history hold, all of them, in any order
	// and letter case. Only Search looks at it.
	Reply string
	// Received at Since or later, and before Until.
	Since, Until time.Time
	// Newest lists the latest ids first.
	Newest bool
	// After is the last id of the page before.
	After string
	// Limit is the number of entries, up to 1000; 0 means 100.
	Limit int
}
