package submission

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"postern/relay/message"
)

// RepairLineEndings is the rule of the change that tells of repaired line ends.
const RepairLineEndings = "repair.line_endings"

// readAhead is what a session holds of a message in memory, beside its header.
const readAhead = 16 << 10

var (
	errTimeout  = message.Refuse(421, "4.4.2", "timed out while waiting for the message")
	errTooSlow  = message.Refuse(421, "4.4.2", "the message came slower than %d octets per second", minRate)
	errLongLine = message.Refuse(550, "5.6.0", "a line of the message is longer than %d octets", maxLine)
	errLost     = message.Refuse(421, "4.4.0", "the connection broke within the message")
)

// Data takes the message of the transaction, by DATA or BDAT, to the Gateway.
// Whatever is wrong with it, it is read to its end first and answered then.
func (s *session) Data(r io.Reader) error {
	s.guard.expectMessage()
	pipe, chunked := r.(*io.PipeReader)
	if chunked {
		awaitChunk(pipe)
	}
	t := s.beginData(chunked)
	if t == nil {
		return wire(errNoMail)
	}
	s.guard.beginTransfer()
	defer s.guard.endTransfer()
	in := newLines(r, t.limit)
	if t.Client.Repair.LineEnds {
		in.repair(!chunked)
	}
	err := s.take(t, in, chunked)
	if err != nil && in.lost == nil {
		in.lost = drain(in.r)
	}
	if in.lost != nil {
		// What is left of the message must not be read as commands.
		s.guard.closeAfterReply()
		return s.answer(t, explainLoss(err, in.lost, s.guard.lateness()))
	}
	s.endData(err == nil)
	return s.answer(t, err)
}

// awaitChunk returns when the first octet has come, or the end of the message:
// then go-smtp waits for us, and the transaction open is that of this message.
//
// It does not wait for us after a first chunk of no octets. A RSET behind that,
// and a whole new transaction, may be faster than we are; go-smtp would take
// what we return for the result of that one. So the goroutine, which go-smtp
// began for this message only, ends here without any.
func awaitChunk(r *io.PipeReader) {
	if _, err := r.Read(nil); err != nil && err != io.EOF {
		runtime.Goexit()
	}
}

// beginData is the transaction whose message begins; nil when there is none.
func (s *session) beginData(chunked bool) *transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunked = chunked
	return s.current
}

// endData notes that the message was read to its end.
func (s *session) endData(accepted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunked = false
	if accepted {
		s.refusals = 0
		s.guard.sent()
	}
}

// take is the way of a message from the client to the Gateway. The spool is
// discarded on every way out, a panic included; what was kept of it stays.
func (s *session) take(t *transaction, in *lines, chunked bool) (err error) {
	began := time.Now()
	spool := s.server.gateway.Spool()
	defer spool.Discard()
	if t.Header, err = receive(in, spool); err != nil {
		return err
	}
	if chunked && !s.whole() {
		in.lost = io.ErrUnexpectedEOF
		return in.lost
	}
	t.Changes = append(t.Changes, in.changes()...)
	s.server.observe("data", began, t.ID)
	if t.Body, err = spool.Body(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	began = time.Now()
	err = s.server.gateway.Accept(s.guard.ctx, t.Message)
	s.server.observe("accept", began, t.ID)
	return err
}

// Read reads a message as BDAT brings it from a client that has such repairs: its
// header, and what was changed. The body goes to w. With more than limit octets,
// if there is a limit, it is refused. What is wrong with it is a *message.Reply.
func Read(r io.Reader, repairs message.Repairs, limit int64, w io.Writer) (message.Header, []message.Change, error) {
	in := newLines(r, limit)
	if repairs.LineEnds {
		in.repair(false)
	}
	header, err := receive(in, w)
	return header, in.changes(), err
}

// receive reads header and body. BDAT allows a last line without CRLF; it gets
// one here, as it would on its way by DATA.
func receive(in *lines, spool io.Writer) (message.Header, error) {
	r := bufio.NewReaderSize(in, readAhead)
	header, err := message.ReadHeader(r)
	switch {
	case errors.Is(err, message.ErrHeaderTooLarge):
		return nil, message.Refuse(552, "5.3.4", "%v", err)
	case errors.Is(err, message.ErrHeaderMalformed):
		return nil, message.Refuse(554, "5.6.0", "%v", err)
	case err != nil:
		return nil, err
	}
	if _, err := r.WriteTo(spool); err != nil {
		return nil, err
	}
	if in.unfinished() {
		_, err = io.WriteString(spool, "\r\n")
	}
	return header, err
}

// whole tells whether a message sent with BDAT is complete. go-smtp does not
// notice when the connection ends within a chunk: it ends the message there. But
// the talk knows what the chunk still lacks. Now that the message has ended go-smtp
// waits for us, and nobody reads from the talk.
func (s *session) whole() bool { return s.talk.chunk == 0 }

// drain reads what is left of a message that is refused. go-smtp drains itself
// what is beyond its own limit.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	if errors.Is(err, smtp.ErrDataTooLarge) {
		return nil
	}
	return err
}

// explainLoss is what is said of a message that ended before its end. What was
// found wrong with it before goes first: it may be why the end was not seen.
func explainLoss(err, lost error, late *message.Reply) error {
	switch {
	case !errors.Is(err, lost):
		return err
	case late != nil:
		return late
	case errors.Is(lost, smtp.ErrTooLongLine):
		return errLongLine
	default:
		return fmt.Errorf("%w: %w", errLost, lost)
	}
}

// answer counts and logs how it ended, and makes the reply.
func (s *session) answer(t *transaction, err error) error {
	messages := s.server.metrics.Messages
	if err == nil {
		messages.WithLabelValues(t.Client.Listener, "accepted").Inc()
		return wire(message.Refuse(250, "2.0.0", "queued as %s", t.ID))
	}
	result := "refused"
	if code := replyTo(err).Code; code/100 == 4 && code != 421 {
		result = "unavailable"
	}
	messages.WithLabelValues(t.Client.Listener, result).Inc()
	var to []string
	for _, r := range t.To {
		to = append(to, r.Address.String())
	}
	return s.refuse("DATA", t.Message, t.From.String(), strings.Join(to, " "), err)
}
