package submission

import (
	"fmt"
	"io"

	"postern/relay/message"
)

// lines reads a message and lets through only lines that end in CRLF, without
// NUL, up to the size allowed. The server after us may take a bare CR or LF for
// a line end and so see the end of the message, and a second message, where we
// saw text: SMTP smuggling. Such a message is refused, because a repair breaks
// signatures; but where a profile asks for it, it is repaired (repair.go).
//
// Its errors are a *message.Reply for what the client did wrong, or those of
// the connection, which are kept in lost.
type lines struct {
	r     io.Reader
	limit int64 // octets; 0 is none

	size int64 // octets read
	line int   // lines ended
	last byte  // the octet before
	lost error // why no more can be read, if not for the end of the message

	repaired *repairer // below r; nil: nothing is repaired
}

// unlimited stands for no limit.
const unlimited = 1<<63 - 1

func newLines(r io.Reader, limit int64) *lines {
	if limit == 0 {
		limit = unlimited
	}
	return &lines{r: r, limit: limit}
}

func (l *lines) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if err != nil && err != io.EOF {
		l.lost = err
	}
	if bad := l.check(b[:n]); bad != nil {
		return 0, bad
	}
	if err == io.EOF && l.last == '\r' {
		return 0, l.refuse("a CR without LF")
	}
	return n, err
}

// check looks at the next octets and counts them.
func (l *lines) check(b []byte) error {
	if l.size += int64(len(b)); l.size > l.limit {
		return oversized(l.limit)
	}
	for _, c := range b {
		switch {
		case c == 0:
			return l.refuse("a NUL octet")
		case c == '\n' && l.last != '\r':
			return l.refuse("an LF without CR before it")
		case c != '\n' && l.last == '\r':
			return l.refuse("a CR without LF after it")
		}
		if l.last = c; c == '\n' {
			l.line++
		}
	}
	return nil
}

func (l *lines) refuse(what string) error {
	return message.Refuse(550, "5.6.0", "line %d of the message holds %s; lines must end in CR LF and hold no NUL (RFC 5321, section 2.3.8)", l.line+1, what)
}

// repair has line ends repaired from here on; dots is set for what came by DATA.
func (l *lines) repair(dots bool) {
	l.repaired = &repairer{r: l.r, dots: dots}
	l.r = l.repaired
}

// changes is what was repaired, for the history.
func (l *lines) changes() []message.Change {
	if l.repaired == nil || l.repaired.count == 0 {
		return nil
	}
	return []message.Change{{Rule: RepairLineEndings, Field: "body", Before: fmt.Sprint(l.repaired.count, " lines ended in CR or LF alone")}}
}

// unfinished tells whether the message does not end in CRLF, which BDAT allows.
func (l *lines) unfinished() bool { return l.size > 0 && l.last != '\n' }

// oversized is the refusal of a message over its limit in octets.
type oversized int64

func (limit oversized) Error() string { return limit.Unwrap().Error() }

// Unwrap is the *message.Reply.
func (limit oversized) Unwrap() error {
	return message.Refuse(552, "5.3.4", "the message is larger than the %d octets allowed; send less at once, or have the account's limits.size or policy.limits.size raised", int64(limit))
}
