package graph_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"postern/relay/message"
	"postern/relay/upstream/graph"
	"postern/relay/upstream/transport"
)

// big is a letter over what goes in one piece: the text, and behind it a file
// of so many octets.
func big(head, text string, sizes ...int) *message.Message {
	m := letter("From: Scanner <scan@example.com>\nTo: Ann <a@example.org>\nMIME-Version: 1.0\n"+head+
		"Content-Type: multipart/mixed; boundary=m\n\n", "a@example.org")
	var b strings.Builder
	b.WriteString(text)
	for i, size := range sizes {
		fmt.Fprintf(&b, "\n--m\nContent-Type: application/pdf; name=\"scan-%d.pdf\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment\n\n", i)
		encoded := base64.StdEncoding.EncodeToString(pattern(size))
		for len(encoded) > 76 {
			b.WriteString(encoded[:76] + "\n")
			encoded = encoded[76:]
		}
		b.WriteString(encoded)
	}
	b.WriteString("\n--m--\n")
	m.Body = message.Bytes(strings.ReplaceAll(b.String(), "\n", "\r\n"))
	return m
}

// pattern is content in which every octet is of its place.
func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

const plain = "--m\nContent-Type: text/plain; charset=utf-8\n\nHello, \"you\".\n"

func TestALargeMessageIsADraft(t *testing.T) {
	s := newServer(t)
	m := big("Cc: Carl <C@example.org>, nobody@example.net\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nMessage-ID: <1@example.com>\nReply-To: help@example.com\n"+
		"Importance: High\nReferences: <0@example.com>\nList-Id: x\nX-One: 1\nx-two: 2\nX-Three: 3\nX-Four: 4\nX-Five: 5\nX-Six: 6\n"+
		"Received: from x\nDate: Sun, 1 Mar 2026 11:59:00 +0100\n", plain, 2_000_000, 10, 5_000_000, 9_000_001)
	m.To = append(m.To, letter(small, "c@example.org", "hidden@example.org").To...)
	r := send(t, s.client(t), m)[0]
	if r.Outcome != message.Delivered {
		t.Fatalf("%v %v", r.Outcome, r.Reply)
	}
	const told = "202 Accepted, built anew as a draft (it has more than 3145728 octets); left out: References, List-Id, X-Six"
	if r.Reply.String() != told {
		t.Errorf("the history says %q", r.Reply)
	}
	got := s.got()
	if len(got) != 1 || !slices.Equal(got[0].to, []string{"a@example.org", "c@example.org", "hidden@example.org"}) {
		t.Fatalf("it went to %q", got[0].to)
	}
	d := got[0].draft
	d.check(t, "text", "Hello, \"you\".\r\n", []int{2_000_000, 10, 5_000_000, 9_000_001})
	if d.Subject != "Grüße" || d.MessageID != "<1@example.com>" || d.Importance != "high" || d.From.Address.Name != "Scanner" || d.To[0].Address.Name != "Ann" ||
		d.Cc[0].Address.Address != "C@example.org" || d.Bcc[0].Address.Address != "hidden@example.org" || d.ReplyTo[0].Address.Address != "help@example.com" || len(d.Headers) != 5 {
		t.Errorf("%+v", d)
	}
	if heard := strings.Join(s.heard(), " "); heard != "draft session chunk chunk session chunk chunk chunk send" {
		t.Errorf("%s", heard)
	}
}

// check holds a draft against its text and its files, in any order.
func (d *draft) check(t *testing.T, kind, text string, sizes []int) {
	t.Helper()
	if d.Body.Type != kind || d.Body.Content != text {
		t.Errorf("its text is %s %q", d.Body.Type, d.Body.Content)
	}
	for i, size := range sizes {
		name := fmt.Sprintf("scan-%d.pdf", i)
		if !slices.ContainsFunc(d.Attachments, func(a *attachment) bool {
			return a.Name == name && a.Media == "application/pdf" && bytes.Equal(a.Bytes, pattern(size))
		}) {
			t.Errorf("%s is not there", name)
		}
	}
	if len(d.Attachments) != len(sizes) {
		t.Errorf("%d attachments", len(d.Attachments))
	}
}

func TestManySmallFilesBesideTheDraft(t *testing.T) {
	s := newServer(t)
	sizes := []int{1_500_000, 1_500_000, 1_500_000, 20}
	r := send(t, s.client(t), big("", plain, sizes...))[0]
	if r.Outcome != message.Delivered {
		t.Fatalf("%v %v", r.Outcome, r.Reply)
	}
	s.got()[0].draft.check(t, "text", "Hello, \"you\".\r\n", sizes)
	if heard := strings.Join(s.heard(), " "); heard != "draft attach send" && heard != "draft attach attach send" {
		t.Errorf("%s", heard)
	}
}

const (
	pdf = "\n--m\nContent-Type: application/pdf\n\n"
	gif = "\n--r\nContent-Type: image/gif\nContent-ID: <logo@x>\nContent-Disposition: inline; filename=logo.gif\n\nGIF\n--r--\n"
	alt = "--m\nContent-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain\n\nplain\n"
)

// filled is a multipart/mixed of the text and a file that makes it large.
func filled(text string) *message.Message {
	m := big("", text)
	body := strings.TrimSuffix(string(m.Body.(message.Bytes)), "\r\n--m--\r\n")
	m.Body = message.Bytes(body + strings.ReplaceAll(pdf, "\n", "\r\n") + strings.Repeat("x", 3_200_000) + "\r\n--m--\r\n")
	return m
}

func TestFormsThatADraftHolds(t *testing.T) {
	for _, c := range []struct{ name, text, kind, want, lost string }{
		{"plain text", plain, "text", "Hello, \"you\".", ""},
		{"HTML", "--m\nContent-Type: text/html; charset=utf-8\n\n<b>\\ \x01\n", "html", "<b>\\ \x01", ""},
		{"Latin-1 in quoted-printable", "--m\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: Quoted-Printable\n\nGr=FC=DFe =\nso\n", "text", "Grüße so", ""},
		{"Shift-JIS in base64", "--m\nContent-Type: text/plain; charset=Shift_JIS\nContent-Transfer-Encoding: base64\n\nk/qW\ne4zq\n", "text", "日本語", ""},
		{"two forms", alt + "--a\nContent-Type: text/html\n\n<p>html\n--a--\n", "html", "<p>html", "the plain text beside the HTML"},
		{"only the plain one", alt + "--a--\n", "text", "plain", ""},
		{"two forms, one with an image", alt + "--a\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<img>" + gif + "\n--a--\n", "html", "<img>", "the plain text beside the HTML"},
		{"an image", "--m\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<img>" + gif, "html", "<img>", ""},
		{"no text", "", "text", "", ""},
		{"a text that is a file", "--m\nContent-Type: text/plain; name=notes.txt\n\nnotes\n", "text", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			r := send(t, s.client(t), filled(c.text))[0]
			if r.Outcome != message.Delivered {
				t.Fatalf("%v %v", r.Outcome, r.Reply)
			}
			d := s.got()[0].draft
			if d.Body.Type != c.kind || strings.TrimRight(d.Body.Content, "\r\n") != c.want {
				t.Errorf("%s %q", d.Body.Type, d.Body.Content)
			}
			if _, lost, _ := strings.Cut(r.Reply.Text, "left out: "); lost != c.lost {
				t.Errorf("it says that %q is lost", lost)
			}
			for _, a := range d.Attachments {
				if len(a.Bytes) < 100 {
					t.Logf("%+v", *a)
				}
			}
			image := slices.IndexFunc(d.Attachments, func(a *attachment) bool { return a.Name == "logo.gif" })
			if strings.Contains(c.name, "image") != (image >= 0) || image >= 0 && (!d.Attachments[image].Inline || d.Attachments[image].ContentID != "logo@x" || string(d.Attachments[image].Bytes) != "GIF") {
				t.Errorf("%+v", d.Attachments)
			}
			if strings.Contains(c.name, "is a file") && !slices.ContainsFunc(d.Attachments, func(a *attachment) bool { return a.Name == "notes.txt" && string(a.Bytes) == "notes\r\n" }) {
				t.Errorf("%+v", d.Attachments)
			}
		})
	}
}

func TestNamesOfFiles(t *testing.T) {
	for header, want := range map[string]string{
		"Content-Type: application/pdf; name=\"a.pdf\"":                                  "a.pdf",
		"Content-Disposition: attachment; filename=Scan 1 of 2.pdf":                      "Scan 1 of 2.pdf",
		"Content-Disposition: attachment; filename*=utf-8''B%C3%BCro.pdf":                "Büro.pdf",
		"Content-Disposition: attachment; filename=\"=?utf-8?q?B=C3=BCro=2Epdf?=\"":      "Büro.pdf",
		"Content-Type: application/pdf":                                                  "attachment-1",
		"Content-Disposition: attachment; filename=\"a.pdf\"\nContent-Type: x/y; name=b": "a.pdf",
	} {
		s := newServer(t)
		m := filled(plain + "--m\n" + header + "\n\nx\n")
		if r := send(t, s.client(t), m)[0]; r.Outcome != message.Delivered {
			t.Errorf("%s: %v", header, r.Reply)
		} else if got := s.got()[0].draft.Attachments[0].Name; got != want {
			t.Errorf("%s: %q", header, got)
		}
	}
}

func TestFormsThatADraftDoesNotHold(t *testing.T) {
	whole := func(header, body string) *message.Message {
		m := letter("From: scan@example.com\nTo: a@example.org\n"+header+"\n\n", "a@example.org")
		m.Body = message.Bytes(strings.ReplaceAll(body, "\n", "\r\n"))
		return m
	}
	pad := strings.Repeat("x", 3_200_000)
	for _, c := range []struct {
		name string
		m    *message.Message
		want string
	}{
		{"signed", whole("Content-Type: multipart/signed; boundary=s", "--s\n\n"+pad+"\n--s\nContent-Type: application/pgp-signature\n\nx\n--s--\n"), "type multipart/signed"},
		{"S/MIME", whole("Content-Type: application/pkcs7-mime; name=smime.p7m", pad), "type application/pkcs7-mime"},
		{"a signature beside it", filled(plain + "--m\nContent-Type: application/pkcs7-signature\n\nx\n"), "type application/pkcs7-signature"},
		{"a message within", filled(plain + "--m\nContent-Type: message/rfc822\n\nSubject: x\n\ny\n"), "type message/rfc822"},
		{"mixed within mixed", filled("--m\nContent-Type: multipart/mixed; boundary=n\n\n--n\n\nx\n--n--\n"), "type multipart/mixed"},
		{"a report", whole("Content-Type: multipart/report; boundary=s", "--s\n\n"+pad+"\n--s--\n"), "type multipart/report"},
		{"an invitation", filled(alt + "--a\nContent-Type: text/calendar\n\nx\n--a--\n"), "type text/calendar"},
		{"two texts", filled(plain + "--m\nContent-Type: text/plain\n\nfooter\n"), "more than one text"},
		{"a text too long", whole("Subject: x", strings.Repeat("\"", 3_200_000)), "larger than one request"},
		{"an unknown charset", filled("--m\nContent-Type: text/plain; charset=klingon\n\nx\n"), "klingon"},
		{"a text that is not in its charset", filled("--m\nContent-Type: text/plain; charset=utf-8\n\n\xff\n"), "its text cannot be decoded"},
		{"an unknown encoding", filled(plain + "--m\nContent-Type: x/y\nContent-Transfer-Encoding: uuencode\n\nx\n"), "uuencode"},
		{"damaged base64", filled(plain + "--m\nContent-Type: x/y\nContent-Transfer-Encoding: base64\n\n!!!!\n"), "cannot be decoded"},
		{"no boundary", whole("Content-Type: multipart/mixed", pad), "boundary"},
		{"no end", whole("Content-Type: multipart/mixed; boundary=m", "--m\n\nx\n--m\nContent-Type: x/y\n\n"+pad), "no end"},
		{"a line like a boundary", filled(plain + "\n--mx\n"), "taken for a boundary"},
		{"an unreadable header", filled(plain + "--m\nno field\n\nx\n"), "header of a part"},
		{"a header said twice", filled(plain + "--m\nContent-Type: x/y\nContent-Type: x/z\n\nx\n"), "says twice"},
		{"too many parts", filled(plain + strings.Repeat("--m\nContent-Type: x/y\n\nx\n", 300)), "more than 250 parts"},
		{"several authors", func() *message.Message {
			m := filled(plain)
			m.Header[0] = message.NewField("From", "a@example.com, b@example.com")
			return m
		}(), "several authors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			r := send(t, s.client(t), c.m)[0]
			if r.Outcome != message.Failed || r.Reply.Enhanced != "5.6.3" || !strings.Contains(r.Reply.Text, c.want) {
				t.Errorf("%v %v", r.Outcome, r.Reply)
			}
			var unfit *transport.Unfit
			if _, err := s.client(t).Send(t.Context(), as(c.m, true)); !errors.As(err, &unfit) || unfit.Upstream != "m365" || !strings.Contains(unfit.Error(), c.want) {
				t.Errorf("where another may take it: %v", err)
			}
			if len(s.heard()) > 0 {
				t.Errorf("asked for %q", s.heard())
			}
		})
	}
}

// eight has a file of eight million octets, which takes three chunks.
var eight = sync.OnceValue(func() *message.Message { return big("", plain, 8_000_000) })

// two is a message whose files all fit into the draft.
var two = sync.OnceValue(func() *message.Message { return big("", plain, 2_200_000, 200_000) })

// three is a message of which one file fits into the draft, one goes beside it,
// and one needs a session.
var three = sync.OnceValue(func() *message.Message { return big("", plain, 2_200_000, 2_200_000, 3_000_000) })

func TestADraftThatIsNotSentIsDeleted(t *testing.T) {
	hangUp := func(at string) func(string, int, http.ResponseWriter, *http.Request) bool {
		return func(step string, n int, w http.ResponseWriter, r *http.Request) bool {
			if step == at {
				io.Copy(io.Discard, r.Body)
				panic(http.ErrAbortHandler)
			}
			return false
		}
	}
	for _, c := range []struct {
		name   string
		m      *message.Message
		fault  func(string, int, http.ResponseWriter, *http.Request) bool
		want   message.Outcome
		advice transport.Action
		left   int
		sent   int
	}{
		{"no draft may be written", two(), answers("draft", 403, fault("ErrorAccessDenied")), message.Deferred, transport.Failover, 0, 0},
		{"throttled at the draft", two(), answers("draft", 429, fault("ApplicationThrottled"), "Retry-After", "9"), message.Deferred, transport.Slow, 0, 0},
		{"no id", two(), answers("draft", 201, `{}`), message.Deferred, "", 0, 0},
		{"an odd answer", two(), answers("draft", 201, `[{"id":1`), message.Deferred, "", 0, 0},
		{"the draft breaks off", two(), hangUp("draft"), message.Deferred, "", 0, 0},
		{"500 to a file is no doubt", three(), answers("attach", 500, fault("x")), message.Deferred, "", 0, 0},
		{"no session", three(), answers("session", 504, ""), message.Deferred, "", 0, 0},
		{"a session without a URL", three(), answers("session", 201, `{}`), message.Deferred, "", 0, 0},
		{"a session elsewhere without TLS", three(), answers("session", 201, `{"uploadUrl":"ftp://example.com/x"}`), message.Deferred, "", 0, 0},
		{"chunks are never taken", three(), answers("chunk", 500, ""), message.Deferred, "", 0, 0},
		{"chunks break off", three(), hangUp("chunk"), message.Deferred, "", 0, 0},
		{"throttled at a chunk", three(), answers("chunk", 429, "", "Retry-After", "9"), message.Deferred, transport.Slow, 0, 0},
		{"send is throttled", two(), answers("send", 429, fault("x"), "Retry-After", "9"), message.Deferred, transport.Slow, 0, 0},
		{"send is refused", two(), answers("send", 400, fault("ErrorInvalidRecipients")), message.Failed, "", 0, 0},
		{"send is not answered", two(), hangUp("send"), message.Uncertain, "", 1, 0},
		{"send is 504", two(), answers("send", 504, fault("x")), message.Uncertain, "", 1, 0},
		{"send is 200", two(), answers("send", 200, ""), message.Uncertain, "", 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.fault = c.fault
			r := send(t, s.client(t), c.m)[0]
			if r.Outcome != c.want || r.Advice.Action != c.advice {
				t.Errorf("%v %q %v", r.Outcome, r.Advice.Action, r.Reply)
			}
			if s.left() != c.left || len(s.got()) != c.sent {
				t.Errorf("%d drafts are left, %d sent: %q", s.left(), len(s.got()), s.heard())
			}
			if strings.Contains(r.Reply.Text, "canary") {
				t.Errorf("it tells a secret: %v", r.Reply)
			}
		})
	}
}

func TestAnUploadIsTakenUpAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(step string, n int, w http.ResponseWriter, r *http.Request) bool
		want  string
	}{
		{"a chunk breaks off", func(step string, n int, w http.ResponseWriter, r *http.Request) bool {
			if step == "chunk" && n == 2 {
				io.CopyN(io.Discard, r.Body, 100_000)
				panic(http.ErrAbortHandler)
			}
			return false
		}, "draft session chunk chunk state chunk chunk send"},
		{"every other chunk stumbles", func(step string, n int, w http.ResponseWriter, r *http.Request) bool {
			if step == "chunk" && n%2 == 0 {
				io.Copy(io.Discard, r.Body)
				w.WriteHeader(502)
				return true
			}
			return false
		}, "draft session chunk chunk state chunk chunk state chunk send"},
		{"the state is not told at once", func(step string, n int, w http.ResponseWriter, r *http.Request) bool {
			if step == "chunk" && n == 2 || step == "state" && n == 1 {
				io.Copy(io.Discard, r.Body)
				w.WriteHeader(503)
				return true
			}
			return false
		}, "draft session chunk chunk state chunk chunk send"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.fault = c.fault
			r := send(t, s.client(t), eight())[0]
			if r.Outcome != message.Delivered {
				t.Fatalf("%v %v", r.Outcome, r.Reply)
			}
			s.got()[0].draft.check(t, "text", "Hello, \"you\".\r\n", []int{8_000_000})
			if heard := strings.Join(s.heard(), " "); heard != c.want {
				t.Errorf("%s", heard)
			}
		})
	}
}

func TestAServerThatNeverHasEnoughIsLeft(t *testing.T) {
	for _, next := range []string{`["0-"]`, `["-5"]`, `["x"]`, `[]`, `["99999999999"]`, `["8000000-"]`} {
		s := newServer(t)
		s.fault = func(step string, n int, w http.ResponseWriter, r *http.Request) bool {
			if step != "chunk" && step != "state" {
				return false
			}
			io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, `{"nextExpectedRanges":%s}`, next)
			return true
		}
		if r := send(t, s.client(t), eight())[0]; r.Outcome != message.Deferred || s.left() != 0 {
			t.Errorf("%s: %v", next, r)
		}
		if n := len(s.heard()); n > 12 {
			t.Errorf("%s: %d requests", next, n)
		}
	}
}

func TestDamageIsNotSent(t *testing.T) {
	s := newServer(t)
	for _, size := range []int{1000, 5_000_000} {
		m := big("", plain, size)
		m.Body = damaged{m.Body}
		if r := send(t, s.client(t), m)[0]; r.Outcome != message.Deferred || r.Reply.Enhanced != "4.3.0" {
			t.Errorf("%d: %v", size, r)
		}
	}
	if len(s.got()) > 0 || s.left() > 0 {
		t.Error("it was sent")
	}
}

// damaged is a body in which damage shows at its very end.
type damaged struct{ message.Body }

func (d damaged) Open() (io.ReadCloser, error) {
	r, err := d.Body.Open()
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(r, broken{}), r}, err
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, message.ErrDamaged }

var _ transport.Transport = (*graph.Client)(nil)
