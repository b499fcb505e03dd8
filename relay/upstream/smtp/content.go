package smtp

import (
	"cmp"
	"errors"
	"io"
	"sync"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

var blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}

// errSource wraps errors of what is read, to tell them from those of the
// network.
type errSource struct{ error }

func (e errSource) Unwrap() error { return e.error }

// content sends what follows the 354 and settles who was accepted.
func (t *transaction) content(body io.Reader) {
	err := t.stream(body)
	if source := (errSource{}); errors.As(err, &source) {
		t.c.broken = true // without the final dot the server drops what it got
		t.settleRest(unreadable(source.error))
		return
	}
	wait := t.c.patience.End
	if err != nil { // a server that stopped reading may have said why
		t.c.broken = true
		wait = t.c.patience.Quit
	}
	reply, unheard := t.c.reply(wait)
	switch {
	case unheard != nil:
		t.c.broken = true
		t.settleRest(t.interrupted(cmp.Or(err, unheard)))
	case reply.Positive() && !t.ended:
		t.settleRest(transport.Own(message.Deferred, "4.5.0", "the server broke off and yet said %s", reply))
	default:
		t.c.dirty = false // any answer to the dot ends the transaction
		t.c.broken = t.c.broken || reply.Code == 421 || reply.Code/100 == 3 || transport.SessionFault(reply)
		t.settleRest(t.judgeEnd(reply))
	}
}

// stream sends the content and the final dot. From the moment a write may
// carry a part of the dot on, t.ended is set.
func (t *transaction) stream(body io.Reader) error {
	t.c.writing = t.c.patience.Block
	w := dotWriter{w: t.c.w, lineStart: true}
	block := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(block)
	for {
		n, err := body.Read(block[:])
		if _, werr := w.Write(block[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return errSource{err}
		}
	}
	if t.c.spokeNow() { // it broke off, or what it says is no answer to the dot
		return errors.New("the server answered before the mail was sent")
	}
	t.ended = true
	if err := w.end(); err != nil {
		return err
	}
	if err := t.c.push(t.c.patience.Block); err != nil {
		return err
	}
	t.dotSent()
	return nil
}

// endEmpty answers a 354 that came although nobody is to get the mail: nothing
// but the dot, which the server should refuse (RFC 2920, section 3.1). Whatever
// it says, nothing was delivered to anyone.
func (t *transaction) endEmpty() {
	err := t.c.line(".")
	if err == nil {
		err = t.c.flush(t.c.patience.Command)
	}
	var reply message.Reply
	if err == nil {
		reply, err = t.c.reply(t.c.patience.End)
	}
	t.c.dirty = false
	t.c.broken = t.c.broken || err != nil || reply.Code == 421
}
