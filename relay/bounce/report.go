package bounce

import (
	"bytes"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"regexp"
	"time"

	"postern/relay/message"
)

// MaxCases is how many recipients one report tells of, so that its size is
// bounded. Who has more to tell makes more reports.
const MaxCases = 50

// Report is what one report says.
type Report struct {
	// ID is that of the report itself.
	ID     string
	Action Action
	// Original is the message it is about, without Header and Body if they cannot
	// be read.
	Original *message.Message
	// Cases are the recipients it tells of, 1 to MaxCases.
	Cases []Case
	At    time.Time
}

// subjects by what happened.
var subjects = map[Action]string{
	Failed:  "Your message could not be delivered",
	Delayed: "Your message has not been delivered yet",
	Relayed: "Your message has been passed on",
}

const maybeSubject = "Your message may not have been delivered"

// Report writes a report to the return path of the original, which has one. It
// has none itself, and asks for no reports (RFC 3461, section 6.1).
func (a Author) Report(r Report) *message.Message {
	subject := subjects[r.Action]
	if r.Action == Failed && all(r.Cases, func(c Case) bool { return c.Uncertain }) {
		subject = maybeSubject
	}
	p := newParts(r.ID)
	media, encoding, content := text(a.tell(r))
	p.add("Notification", media, encoding, content)
	p.add("Delivery report", "message/delivery-status", "7bit", a.status(r))
	p.original(r)
	m := a.mail(r.ID, r.Original.From, subject, r.At)
	m.About = r.Original.ID
	m.Client.Account, m.Client.Listener = r.Original.Client.Account, r.Original.Client.Listener // of whom its route is
	m.Header = m.Header.Append(references(r.Original)...).Append(
		message.NewField("Auto-Submitted", "auto-replied"), // RFC 3834, section 5
		message.NewField("MIME-Version", "1.0"),
		message.NewField("Content-Type", "multipart/report; report-type=delivery-status;\r\n\tboundary=\""+p.Boundary()+"\""))
	m.Body = p.end()
	return m
}

// mail begins a message of ours.
func (a Author) mail(id string, to message.Address, subject string, at time.Time) *message.Message {
	from := a.Postmaster
	if from.IsNull() {
		from = message.Address{Local: "MAILER-DAEMON", Domain: a.Hostname}
	}
	return &message.Message{
		ID: id, Received: at,
		Envelope: message.Envelope{
			To:       []message.Recipient{{Address: to, Notify: []string{"NEVER"}}},
			SMTPUTF8: !to.IsASCII() || !from.IsASCII(),
		},
		Header: message.Header{
			message.NewField("Date", date(at)),
			message.NewField("From", "Mail Delivery System <"+from.String()+">"),
			message.NewField("To", "<"+to.String()+">"),
			message.NewField("Subject", subject),
			message.NewField("Message-ID", "<"+id+"@"+a.Hostname+">"),
		},
	}
}

var messageID = regexp.MustCompile(`^<[!-;=?-~]{1,250}>$`)

// references let mail programs show a report with its original.
func references(original *message.Message) []message.Field {
	id := original.Header.Get("Message-ID")
	if !messageID.MatchString(id) {
		return nil
	}
	return []message.Field{message.NewField("In-Reply-To", id), message.NewField("References", id)}
}

// parts are those of a multipart, as they are written. Writing to memory does
// not fail.
type parts struct {
	*multipart.Writer
	out *bytes.Buffer
}

// newParts begins a multipart whose boundary nobody can have known who wrote
// what is quoted in it: the id of the report is not to be guessed.
func newParts(id string) parts {
	p := parts{out: new(bytes.Buffer)}
	p.Writer = multipart.NewWriter(p.out)
	_ = p.SetBoundary("report-" + id)
	return p
}

// text is content for people, and how it is labelled and written.
func text(content string) (media, encoding string, written message.Bytes) {
	charset := "us-ascii"
	if message.Bytes(content).EightBit() {
		charset = "utf-8"
	}
	encoding, written = encode([]byte(content))
	return "text/plain; charset=" + charset, encoding, written
}

// encode writes content in quoted-printable where it is no short lines of ASCII.
func encode(content []byte) (encoding string, written message.Bytes) {
	if isPlain(content) {
		return "7bit", content
	}
	var b bytes.Buffer
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write(content)
	_ = q.Close()
	return "quoted-printable", b.Bytes()
}

// add adds a part.
func (p parts) add(description, media, encoding string, content []byte) {
	w, _ := p.CreatePart(textproto.MIMEHeader{
		"Content-Type": {media}, "Content-Description": {description}, "Content-Transfer-Encoding": {encoding},
	})
	_, _ = w.Write(content)
}

// end is the body that has come of it.
func (p parts) end() message.Bytes {
	_ = p.Close()
	return message.Bytes(p.out.Bytes())
}

// isPlain tells whether content is ASCII in lines that every server takes (RFC
// 5322, section 2.1.1).
func isPlain(content []byte) bool {
	for line := range bytes.Lines(content) {
		if len(line) > 998 || message.Bytes(line).EightBit() || bytes.IndexByte(line, 0) >= 0 {
			return false
		}
	}
	return true
}

func all(cases []Case, is func(Case) bool) bool {
	for _, c := range cases {
		if !is(c) {
			return false
		}
	}
	return true
}
