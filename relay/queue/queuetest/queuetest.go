// Package queuetest is what every engine of the queue must fulfil, as a test
// suite. An engine's own tests call Run; what only it can promise, such as what
// a crash leaves of it, they test beside it.
package queuetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/setting"
)

// Open makes an empty store that ends with the test.
type Open func(t *testing.T, cfg queue.Config) queue.Store

// Run checks the engine that open makes.
func Run(t *testing.T, open func(t *testing.T, cfg queue.Config) queue.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"every byte put is read back", testBytes},
		{"a body need not come from a spool of the store", testForeignBody},
		{"a body that was discarded leaves nothing", testDiscard},
		{"a message without recipients is refused", testNoRecipients},
		{"a header too large to be read back is refused", testLargeHeader},
		{"an id is taken once", testDuplicateID},
		{"a put with an upstream is claimed from memory", testPutClaimed},
		{"a delivered message leaves its history and no content", testDelivered},
		{"each recipient has its own outcome", testOutcomes},
		{"a deferred delivery is due at its next time", testDeferred},
		{"a deferred delivery past its time fails with the last reply", testExpiredAtAttempt},
		{"a delivery that waits too long is given up", testExpired},
		{"an uncertain delivery is pinned to its upstream", testUncertain},
		{"an uncertain delivery that is refused later may have been delivered", testUncertainRefused},
		{"an uncertain delivery is held where that is the policy", testUncertainHold},
		{"an uncertain delivery that expires may have been delivered", testUncertainExpires},
		{"a returned claim is due at once and not counted", testReturn},
		{"a claim ends once", testSettleTwice},
		{"what was made of a message is recorded, and its signatures are kept for a retry", testMade},
		{"claims take turns between accounts", testFairness},
		{"a claim takes no more than was asked for", testMax},
		{"lanes do not mix", testLanes},
		{"a wait ends when something is put", testWait},
		{"a wait ends with its context", testWaitCancelled},
		{"a reroute moves what waits and is not pinned", testReroute},
		{"a delivery rerouted while it is sent waits in its new lane", testRerouteSending},
		{"an old history is forgotten", testRetention},
		{"a large history is forgotten from its oldest", testHistoryMax},
		{"what waits is counted by lane", testWaitingLanes},
		{"a reroute moves each recipient for itself", testRerouteEach},
		{"each recipient waits in its own lane", testLanePerRecipient},
		{"recipients of several lanes are claimed as they are put", testPutSeveralLanes},
		{"a claim takes no more recipients than it may", testRecipients},
		{"what goes on is due at once in its new lane and not counted", testGoesOn},
		{"what was uncertain goes on as such", testGoesOnPinned},
		{"what was rerouted while it was sent goes on where it was led", testGoesOnRerouted},
		{"a deferred delivery waits as long as it is told, within reason", testWaitAsTold},
		{"a person holds one recipient and releases it", testHold},
		{"a person has what waits tried now", testRetryNow},
		{"a person drops a message", testDrop},
		{"a person settles what is uncertain", testSettleByPerson},
		{"what is lost stays uncertain while no route takes it", testLostWithoutRoute},
		{"what is held as uncertain stays pinned when it is released", testReleaseUncertain},
		{"a list is narrowed by what is asked", testList},
		{"a list goes on after a page", testPages},
		{"what is not there is not found", testNotFound},
		{"what was accepted since a time is told, latest first", testAccepted},
		{"the numbers count what waits", testNumbers},
		{"a store short of space refuses messages", testMinFree},
		{"a put that was given up leaves nothing", testCancelled},
	} {
		t.Run(test.name, func(t *testing.T) { t.Parallel(); test.run(t, open) })
	}
	for _, test := range reports {
		t.Run(test.name, func(t *testing.T) { t.Parallel(); test.run(t, open) })
	}
}

// Config has short times and no lower bound of free space.
func Config() queue.Config {
	cfg := queue.DefaultConfig()
	cfg.MinFree = 0
	cfg.AllowVolatile = true
	return cfg
}

// NewMessage is a message of that account to those recipients, with a body of
// that many random octets.
func NewMessage(account string, size int, to ...string) *message.Message {
	now := time.Now()
	m := &message.Message{
		ID: message.NewID(now),
		Envelope: message.Envelope{
			From: address("scan@example.com"), Return: "HDRS", EnvelopeID: "id 7", BodyType: "8BITMIME", SMTPUTF8: true, DeclaredSize: int64(size),
		},
		Header: message.Header{
			message.NewField("From", "Scanner <scan@example.com>"),
			message.NewField("Subject", "page one\r\n\tof two, f\xc3\xbcr alle"),
		},
		Body: message.Bytes(Octets(size)),
		Client: message.Client{
			Identity: message.Identity{Account: account}, Mechanism: "PLAIN", Address: netip.MustParseAddrPort("10.20.3.4:5678"), Hello: "printer", Extended: true,
			Listener: "submission", TLSVersion: "TLS 1.3", TLSCipher: "TLS_AES_128_GCM_SHA256",
		},
		Received: now,
	}
	for _, a := range to {
		m.To = append(m.To, message.Recipient{Address: address(a), Notify: []string{"FAILURE", "DELAY"}, OriginalType: "rfc822", Original: a})
	}
	return m
}

// address is the one written as s. One that cannot be read is no address of
// any message, and the test that wrote it fails.
func address(s string) message.Address {
	a, err := message.ParseAddress(s)
	if err != nil {
		return message.Address{Local: s}
	}
	return a
}

// Octets are that many random ones.
func Octets(n int) []byte {
	b := make([]byte, n)
	seed := rand.Uint64()
	for i := range b {
		seed = seed*6364136223846793005 + 1442695040888963407
		b[i] = byte(seed >> 56)
	}
	return b
}

// Spooled hands a body to a spool of the store in uneven pieces.
func Spooled(t testing.TB, s queue.Store, b []byte) (message.Body, queue.Spool) {
	t.Helper()
	sp := s.Spool()
	for len(b) > 0 {
		n := min(len(b), 1+rand.IntN(20_000))
		if _, err := sp.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	body, err := sp.Body()
	if err != nil {
		t.Fatal(err)
	}
	return body, sp
}

// Content is what a body holds.
func Content(t testing.TB, b message.Body) []byte {
	t.Helper()
	r, err := b.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The lanes and the upstream of the tests.
const (
	lane     = "office"
	upstream = "m365"
)

// Put has all recipients wait in one lane, or claimed for an upstream.
func Put(ctx context.Context, s queue.Store, m *message.Message, lane, upstream string) (*queue.Claim, error) {
	claims, err := s.Put(ctx, m, slices.Repeat([]queue.Way{{Lane: lane, Upstream: upstream}}, len(m.To)))
	if err != nil || len(claims) == 0 {
		return nil, err
	}
	return claims[0], nil
}

func put(t *testing.T, s queue.Store, m *message.Message) *message.Message {
	t.Helper()
	if _, err := Put(t.Context(), s, m, lane, ""); err != nil {
		t.Fatal(err)
	}
	return m
}

func claim(t *testing.T, s queue.Store, lane string, max int) []*queue.Claim {
	t.Helper()
	claims, err := s.Claim(t.Context(), lane, upstream, max, 0)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func claimOne(t *testing.T, s queue.Store, lane string) *queue.Claim {
	t.Helper()
	claims := claim(t, s, lane, 10)
	if len(claims) != 1 {
		t.Fatalf("%d claims in %s, want 1", len(claims), lane)
	}
	return claims[0]
}

func settle(t *testing.T, s queue.Store, c *queue.Claim, results ...message.Result) []queue.Settled {
	t.Helper()
	return settleAs(t, s, c, fared(results...)...)
}

// fared are results that nothing more is to become of.
func fared(results ...message.Result) []queue.Outcome {
	outcomes := make([]queue.Outcome, len(results))
	for i, r := range results {
		outcomes[i].Result = r
	}
	return outcomes
}

func settleAs(t *testing.T, s queue.Store, c *queue.Claim, outcomes ...queue.Outcome) []queue.Settled {
	t.Helper()
	settled, err := s.Settle(t.Context(), c, outcomes, nil)
	if err != nil {
		t.Fatal(err)
	}
	return settled
}

func show(t *testing.T, s queue.Reader, id string) *queue.Entry {
	t.Helper()
	e, err := s.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func result(o message.Outcome, code int, text string) message.Result {
	return message.Result{Outcome: o, Reply: message.Reply{Code: code, Text: text}}
}

var (
	delivered = message.Result{Outcome: message.Delivered, Reply: message.Reply{Code: 250, Enhanced: "2.0.0", Text: "ok"}, RemoteID: "r1"}
	failed    = result(message.Failed, 550, "no such user")
	deferred  = result(message.Deferred, 451, "not now")
	uncertain = result(message.Uncertain, 0, "the answer was lost")
)

func sameMessage(t *testing.T, got, want *message.Message) {
	t.Helper()
	if got.ID != want.ID || !reflect.DeepEqual(got.Client, want.Client) || got.Received.UnixMilli() != want.Received.UnixMilli() {
		t.Errorf("got %s %+v %s, want %s %+v %s", got.ID, got.Client, got.Received, want.ID, want.Client, want.Received)
	}
	if got.From != want.From || got.Return != want.Return || got.EnvelopeID != want.EnvelopeID ||
		got.BodyType != want.BodyType || got.SMTPUTF8 != want.SMTPUTF8 || got.DeclaredSize != want.DeclaredSize {
		t.Errorf("envelope %+v, want %+v", got.Envelope, want.Envelope)
	}
	if !slices.EqualFunc(got.To, want.To, sameRecipient) {
		t.Errorf("recipients %v, want %v", got.To, want.To)
	}
	if !bytes.Equal(got.Header.Bytes(), want.Header.Bytes()) {
		t.Errorf("header %q, want %q", got.Header.Bytes(), want.Header.Bytes())
	}
	if got.Body.Size() != want.Body.Size() || got.Body.EightBit() != want.Body.EightBit() {
		t.Errorf("body of %d octets, eight bit %v, want %d, %v", got.Body.Size(), got.Body.EightBit(), want.Body.Size(), want.Body.EightBit())
	}
	if !bytes.Equal(Content(t, got.Body), Content(t, want.Body)) {
		t.Error("the body is not the one that was put")
	}
}

func sameRecipient(a, b message.Recipient) bool {
	return a.Address == b.Address && slices.Equal(a.Notify, b.Notify) && a.OriginalType == b.OriginalType && a.Original == b.Original
}

// isReply checks for a reply to a client.
func isReply(t *testing.T, err error, code int) {
	t.Helper()
	var reply *message.Reply
	if !errors.As(err, &reply) || reply.Code != code {
		t.Fatalf("error %v, want a reply %d", err, code)
	}
}

// sweep gives up what is overdue.
func sweep(t *testing.T, s queue.Store) []queue.Settled {
	t.Helper()
	settled, err := s.Sweep(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return settled
}

// soon has a first retry that is due at once, for practical purposes.
func soon() queue.Config {
	cfg := Config()
	cfg.Retry = []setting.Duration{setting.Duration(time.Millisecond)}
	return cfg
}

func wait(t *testing.T, s queue.Store, lane string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Wait(ctx, lane); err != nil {
		t.Fatal(err)
	}
}

// Fill puts many small messages of an account, as many at once as share commits.
func Fill(ctx context.Context, s queue.Store, account string, messages int) error {
	const hands = 64
	var all errgroup.Group
	for i := range hands {
		all.Go(func() error {
			for n := i; n < messages; n += hands {
				if _, err := Put(ctx, s, NewMessage(account, 10, "a@example.com"), lane, ""); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all.Wait()
}
