package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// maxBatch is how many commands are sent before their replies are read. A
// server that pipelines answers while it reads: were there no bound, both sides
// could end up waiting for the other to read (RFC 2920, section 3.1).
const maxBatch = 64

// transaction is one mail transaction (RFC 5321, section 3.3) on a session.
type transaction struct {
	ctx  context.Context
	c    *conn
	l    transport.Letter
	m    *message.Message // once it is prepared
	body io.ReadCloser    // once it is begun, unless there is nobody to send it to
	took func(ctx context.Context, phase string, began time.Time)
	// dotSent is called when the final dot is sent.
	dotSent func()
	// judge says what a reply means that does not carry out what was asked for.
	judge transport.Judge

	results []transport.Result
	settled []bool // by recipient: its result stands
	asked   []int  // the recipients that the envelope names
	// heard: MAIL was answered. proceed: DATA was answered by 354. ended: the
	// final dot may have been sent.
	heard, proceed, ended bool
	// reused: the session served others before, so that it may have died, or
	// forgotten who we are, in the meantime.
	reused bool
	// batches are the steps of the envelope, as they are said together; early: the
	// first of them were said while the session was another's, with that error.
	batches  [][]step
	early    bool
	earlyErr error
	// loginLost is the answer of a fresh session to MAIL when it asks for AUTH.
	loginLost *message.Reply
	// turnedAway is the 421 of a fresh session to MAIL: too many connections,
	// or too fast, says nothing of the mail.
	turnedAway *message.Reply
	// unfit is why nothing was said of a message that another server may carry.
	unfit *message.Reply
}

func newTransaction(ctx context.Context, c *conn, l transport.Letter, judge transport.Judge, took func(context.Context, string, time.Time)) *transaction {
	return &transaction{ctx: ctx, c: c, l: l, judge: judge, took: took}
}

// prepare has the message made ready for what the server offers.
func (t *transaction) prepare() error {
	m, err := t.l.Prepare(t.c.ext.offer())
	if err != nil {
		return transport.Unprepared{Err: err}
	}
	t.m, t.results, t.settled = m, make([]transport.Result, len(m.To)), make([]bool, len(m.To))
	return nil
}

// begin makes everything ready that can be before the session is ours. The error
// is errStale or unprepared.
func (t *transaction) begin() error {
	if err := t.prepare(); err != nil {
		return err
	}
	offer, load := t.c.ext.offer(), transport.LoadOf(t.m)
	reply := offer.Refuse(load)
	switch {
	case reply != nil && t.reused: // perhaps a new session is offered more
		return errStale
	case reply != nil && t.l.Elsewhere(load):
		t.unfit = reply
		return nil
	}
	for i, r := range offer.Unable(t.m) {
		t.settle(i, r)
	}
	if t.open() == 0 {
		return nil
	}
	body, err := t.m.Open()
	if err != nil {
		t.settleRest(unreadable(err))
		return nil
	}
	t.body = body
	return nil
}

// close gives back what begin opened.
func (t *transaction) close() {
	if t.body != nil {
		t.body.Close()
	}
}

// run takes the transaction to its end. Afterwards every recipient is settled,
// or the error is errStale, or one of loginLost, turnedAway and unfit is set.
func (t *transaction) run() error {
	if t.body == nil {
		return nil
	}
	began := time.Now()
	t.c.until = began.Add(t.c.patience.Envelope)
	err := t.envelope()
	t.c.until = time.Time{}
	if err != nil {
		t.c.broken = true
		return t.breakOff(err)
	}
	t.took(t.ctx, transport.PhaseEnvelope, began)
	switch {
	case !t.proceed:
	case t.open() == 0:
		t.endEmpty()
	default:
		defer t.took(t.ctx, transport.PhaseData, time.Now())
		t.content(t.body)
	}
	return nil
}

// breakOff is the end of a session during the envelope.
func (t *transaction) breakOff(err error) error {
	if !t.heard && t.reused {
		return errStale
	}
	if !t.heard && errors.As(err, &t.turnedAway) {
		return nil
	}
	if errors.As(err, new(outOfStep)) { // what looked like a refusal may have been somebody else's
		for _, i := range t.asked {
			t.settled[i] = false
		}
	}
	t.settleRest(t.interrupted(err))
	return nil
}

// settle fixes the result of recipient i, once.
func (t *transaction) settle(i int, r transport.Result) {
	if !t.settled[i] {
		t.results[i], t.settled[i] = r, true
	}
}

// settleRest fixes the result of all who have none yet.
func (t *transaction) settleRest(r transport.Result) {
	for i := range t.results {
		t.settle(i, r)
	}
}

// open counts the recipients without a result.
func (t *transaction) open() int {
	n := 0
	for _, settled := range t.settled {
		if !settled {
			n++
		}
	}
	return n
}

// step is one command of the envelope and what its reply means.
type step struct {
	line string
	wait time.Duration
	hear func(message.Reply) error
}

// steps are the commands, those to recipients who have a result left out.
func (t *transaction) steps(reset bool) []step {
	var steps []step
	add := func(line string, wait time.Duration, hear func(message.Reply) error) {
		steps = append(steps, step{line, wait, hear})
	}
	p := t.c.patience
	if reset {
		add("RSET", p.Command, t.hearReset)
	}
	add(mailCommand(t.m, t.c.ext), p.Command, t.hearMail)
	t.asked = nil
	for i, to := range t.m.To {
		if !t.settled[i] {
			t.asked = append(t.asked, i)
			add(rcptCommand(to, t.c.ext), p.Command, func(r message.Reply) error { return t.hearRcpt(i, r) })
		}
	}
	add("DATA", p.Data, t.hearData)
	if t.reused {
		steps[0].wait = min(steps[0].wait, p.Kept)
	}
	return steps
}

// group divides the steps into what is said at once: many when the server
// pipelines.
func (t *transaction) group(reset bool) [][]step {
	size := 1
	if t.c.ext.has("PIPELINING") {
		size = maxBatch
	}
	return slices.Collect(slices.Chunk(t.steps(reset), size))
}

// say sends steps without waiting for a reply. What could be said before an error
// is sent.
func (t *transaction) say(batch []step) error {
	for _, s := range batch {
		if err := t.c.line(s.line); err != nil {
			return err
		}
	}
	return t.c.push(t.c.patience.Command)
}

// envelope says the steps and stops when there is nobody left to send to. An
// error means that the session is over.
func (t *transaction) envelope() error {
	if t.earlyErr != nil {
		return t.earlyErr
	}
	if !t.early {
		t.batches = t.group(t.c.dirty)
	}
	for i, batch := range t.batches {
		if t.open() == 0 {
			return nil
		}
		if i == 0 && !t.early && t.c.spoke() {
			return t.c.unasked()
		}
		if i > 0 || !t.early {
			if err := t.say(batch); err != nil {
				return err
			}
		}
		for _, s := range batch {
			if err := t.hear(s); err != nil {
				return err
			}
		}
		if !t.proceed && t.c.spoke() { // after 354 it may break off with a reply
			return t.c.unasked()
		}
	}
	return nil
}

// hear reads the reply to one step. After 421 the server answers nothing more
// (RFC 5321, section 3.8).
func (t *transaction) hear(s step) error {
	reply, err := t.c.reply(s.wait)
	if err != nil {
		return err
	}
	switch {
	case reply.Code == 421:
		return &reply
	case reply.Code/100 == 3 && s.line != "DATA":
		return outOfStep{fmt.Errorf("the server's replies are out of step: %w", &reply)}
	}
	return s.hear(reply)
}

func (t *transaction) hearReset(reply message.Reply) error {
	if !reply.Positive() {
		return fmt.Errorf("RSET: %w", &reply)
	}
	t.c.dirty = false
	return nil
}

func (t *transaction) hearMail(reply message.Reply) error {
	if t.reused && loginLost(reply) {
		return &reply
	}
	t.heard = true
	if reply.Positive() {
		t.c.dirty = true
		return nil
	}
	if loginLost(reply) {
		t.loginLost = &reply
		t.c.broken = true
	}
	t.settleRest(t.refused(transport.AtMail, reply))
	return nil
}

// hearRcpt does not matter once MAIL was refused: its result stands.
func (t *transaction) hearRcpt(i int, reply message.Reply) error {
	if !reply.Positive() && !t.settled[i] {
		t.settle(i, t.refused(transport.AtRcpt, reply))
	}
	return nil
}

func (t *transaction) hearData(reply message.Reply) error {
	t.proceed = reply.Code == 354
	if !t.proceed && reply.Code < 400 {
		return outOfStep{fmt.Errorf("DATA was answered with %w; the server's replies cannot be told apart", &reply)}
	}
	if !t.proceed && t.open() > 0 {
		t.settleRest(t.refused(transport.AtData, reply))
	}
	return nil
}

// refused judges a reply other than the one hoped for. After one that makes no
// sense there, or complains of the session, the session is not used again.
func (t *transaction) refused(at transport.Stage, reply message.Reply) transport.Result {
	if reply.Code < 400 || transport.SessionFault(reply) {
		t.c.broken = true
	}
	return t.judge(at, reply)
}

// interrupted is the result of those whose answer will never come: uncertain
// when the final dot may have been sent.
func (t *transaction) interrupted(err error) transport.Result {
	switch {
	case t.ctx.Err() != nil:
		err = fmt.Errorf("cut off by our side: %w", context.Cause(t.ctx))
	case errors.Is(err, io.EOF):
		err = errors.New("the server closed the connection")
	}
	var reply *message.Reply
	switch {
	case t.ended:
		return transport.Own(message.Uncertain, "4.4.2", "no answer to the final dot, the mail may have been taken: %v", err)
	case errors.As(err, &reply):
		return transport.Result{Result: message.Result{Outcome: message.Deferred, Reply: *reply}}
	}
	return transport.Own(message.Deferred, "4.4.2", "the session broke off before the mail was sent: %v", err)
}

// unreadable is the result when our copy of the message cannot be read. The
// final dot is never sent then.
func unreadable(err error) transport.Result {
	return transport.Own(message.Deferred, "4.3.0", "the stored message cannot be read: %v", err)
}
