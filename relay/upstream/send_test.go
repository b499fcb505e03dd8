package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

func TestMessageArrivesAsItIs(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*server, *upstream.Upstream)
	}{
		{"STARTTLS", func(*server, *upstream.Upstream) {}},
		{"implicit TLS", func(s *server, u *upstream.Upstream) { s.implicit, u.TLS = true, "implicit" }},
		{"without pipelining", func(s *server, u *upstream.Upstream) { s.ext = without(s.ext, "PIPELINING") }},
		{"AUTH LOGIN only", func(s *server, u *upstream.Upstream) {
			s.ext = append(without(s.ext, "AUTH PLAIN LOGIN"), "AUTH LOGIN")
		}},
		{"a password too long for one line", func(s *server, u *upstream.Upstream) {
			u.Password = setting.Plain(password + strings.Repeat("x", 600))
		}},
		{"in clear without a password", func(s *server, u *upstream.Upstream) {
			u.TLS, u.CA, u.Username, u.Password = "none", "", "", setting.Secret{}
		}},
		{"in clear with a password on the loopback interface", func(s *server, u *upstream.Upstream) { u.TLS, u.CA = "none", "" }},
		{"HELO to a server that does not know EHLO", func(s *server, u *upstream.Upstream) {
			u.TLS, u.CA, u.Username, u.Password = "none", "", "", setting.Secret{}
			s.fault = func(step, _ string) string {
				if step == "EHLO" {
					return "502 5.5.1 what?"
				}
				return ""
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			u := smarthost(t, "")
			c.set(s, &u)
			u.Address = s.listen(t)
			o, _ := options(t)
			set := newSet(t, route(u), o)
			m := letter(".dot\r\n..two\r\n\r\n.\r\nlong "+strings.Repeat("x", 900)+"\r\n"+strings.Repeat(".line\r\n", 20000), "a@example.net", "b@example.net")
			results, err := send(t, set, m)
			if err != nil || outcomes(results) != "delivered delivered" {
				t.Fatal(results, err)
			}
			if r := results[1]; r.RemoteID != "4Xyz123" || r.Reply.Code != 250 || r.Reply.Enhanced != "2.0.0" {
				t.Errorf("result %+v", r)
			}
			got := s.got()
			if len(got) != 1 || len(got[0].to) != 2 || string(got[0].content) != string(bytesOf(t, m)) {
				t.Errorf("the server has %d mails, the first to %v", len(got), got[0].to)
			}
			if strings.HasPrefix(c.name, "a password too long") && !slices.Contains(s.heard(), "AUTH PLAIN") {
				t.Error("the password stands in the AUTH command")
			}
			if !slices.Contains(s.ext, "PIPELINING") && s.early {
				t.Error("pipelined to a server that does not offer it")
			}
		})
	}
}

func without(list []string, drop string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == drop })
}

func TestPipelining(t *testing.T) {
	s := newServer(t)
	s.lump = true // a client that waits for a reply to MAIL waits for ever
	o, _ := options(t)
	set := newSet(t, route(smarthost(t, s.listen(t))), o)
	if results, err := send(t, set, letter("x\r\n", "a@example.net", "b@example.net")); err != nil || outcomes(results) != "delivered delivered" {
		t.Fatal(results, err)
	}
}

func TestManyRecipientsArePipelinedInBatches(t *testing.T) {
	s := newServer(t)
	s.fault = func(step, line string) string {
		if step == "RCPT" && strings.Contains(line, "r177@") {
			return "550 5.1.1 unknown"
		}
		return ""
	}
	o, _ := options(t)
	set := newSet(t, route(smarthost(t, s.listen(t))), o)
	m := letter("x\r\n")
	for i := range 300 {
		m.To = append(m.To, message.Recipient{Address: address(fmt.Sprintf("r%d@example.net", i))})
	}
	results, err := send(t, set, m)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if want := i != 177; (r.Outcome == message.Delivered) != want {
			t.Errorf("recipient %d: %v", i, r)
		}
	}
	if got := s.got(); len(got) != 1 || len(got[0].to) != 299 {
		t.Errorf("%d mails", len(got))
	}
}

// at makes a fault of one step.
func at(step, reply string) func(string, string) string {
	return func(s, _ string) string {
		if s == step {
			return reply
		}
		return ""
	}
}

func TestFaults(t *testing.T) {
	long := strings.Repeat("x", 4000)
	endless := strings.Repeat("250-more\n", 500) + "250 done"
	for _, c := range []struct {
		name  string
		fault func(step, line string) string
		want  string // outcomes of a@ and b@, or the phase of an Unreachable
		text  string // in the first reply or the error
	}{
		{"dropped before the greeting", at("GREETING", drop), "greeting", "no greeting"},
		{"greeted with 421", at("GREETING", "421 4.3.2 too busy"), "greeting", "too busy"},
		{"greeted with 554", at("GREETING", "554 5.7.1 not you"), "greeting", "not you"},
		{"greeted in another language", at("GREETING", "HTTP/1.1 400 Bad Request"), "greeting", "not an SMTP reply"},
		{"greeted with an endless line", at("GREETING", "220 "+long), "greeting", "octets"},
		{"dropped at EHLO", at("EHLO", drop), "greeting", "EHLO"},
		{"EHLO answered without end", at("EHLO", endless), "greeting", "reply of more than"},
		{"EHLO refused", at("EHLO", "450 4.3.2 later"), "greeting", "relay.example.com"},
		{"STARTTLS refused", at("STARTTLS", "454 4.7.0 TLS not available"), "tls", "not available"},
		{"dropped during the handshake", at("TLS", drop), "tls", "check tls"},
		{"password refused", at("AUTH", "535 5.7.8 bad credentials"), "auth", "check its username and password"},
		{"AUTH out of order now", at("AUTH", "454 4.7.0 later"), "auth", "later"},
		{"dropped at AUTH", at("AUTH", drop), "auth", "AUTH"},
		{"MAIL wants AUTH", at("MAIL", "530 5.7.0 authentication required"), "auth", "authentication required"},

		{"MAIL refused for good", at("MAIL", "550 5.7.1 sender not allowed"), "failed failed", "sender not allowed"},
		{"MAIL refused for now", at("MAIL", "451 4.3.0 later"), "deferred deferred", "later"},
		{"MAIL answered 503", at("MAIL", "503 5.5.1 out of sequence"), "deferred deferred", "sequence"},
		{"MAIL answered 421", at("MAIL", "421 4.7.0 too fast"), "greeting", "greeting: MAIL: 421 4.7.0 too fast"},
		{"MAIL answered 354", at("MAIL", "354 what"), "greeting", "MAIL: 354 what"},
		{"dropped at MAIL", at("MAIL", drop), "deferred deferred", "closed the connection"},
		{"MAIL answered in another language", at("MAIL", "ok"), "deferred deferred", "not an SMTP reply"},
		{"MAIL answered with two codes", at("MAIL", "250-fine\n550 not"), "deferred deferred", "goes on with"},
		{"first recipient unknown", first("RCPT", "550 5.1.1 unknown"), "failed delivered", "unknown"},
		{"first recipient greylisted", first("RCPT", "450 4.2.0 greylisted"), "deferred delivered", "greylisted"},
		{"first recipient full", first("RCPT", "552 5.2.2 mailbox full"), "failed delivered", "full"},
		{"first recipient one too many", first("RCPT", "552 too many recipients"), "deferred delivered", "too many"},
		{"recipients one too many", first("RCPT", "452 4.5.3 too many"), "deferred delivered", "too many"},
		{"421 at the first recipient", first("RCPT", "421 4.3.2 closing"), "deferred deferred", "closing"},
		{"421 at the second recipient", second("RCPT", "421 4.3.2 closing"), "deferred deferred", "closing"},
		{"dropped at the second recipient", second("RCPT", drop), "deferred deferred", "closed the connection"},
		{"first unknown, dropped at the second", both("RCPT", "550 5.1.1 unknown", drop), "failed deferred", "unknown"},
		{"all recipients refused", at("RCPT", "550 5.1.1 unknown"), "failed failed", "unknown"},
		{"DATA refused for now", at("DATA", "451 4.3.0 later"), "deferred deferred", "later"},
		{"DATA refused for good", at("DATA", "554 5.7.1 no"), "failed failed", "no"},
		{"421 at DATA", at("DATA", "421 4.3.2 closing"), "deferred deferred", "closing"},
		{"DATA answered 250", at("DATA", "250 done"), "deferred deferred", "done"},
		{"dropped at DATA", at("DATA", drop), "deferred deferred", "closed the connection"},

		{"content refused for good", at("DOT", "554 5.6.0 malformed"), "failed failed", "malformed"},
		{"content refused for now", at("DOT", "451 4.3.0 disk full"), "deferred deferred", "disk full"},
		{"421 to the final dot", at("DOT", "421 4.3.2 closing"), "deferred deferred", "closing"},
		{"dropped after the final dot", at("DOT", drop), "uncertain uncertain", "may have been taken"},
		{"final dot answered in another language", at("DOT", "ok"), "uncertain uncertain", "not an SMTP reply"},
		{"final dot answered 354", at("DOT", "354 more"), "uncertain uncertain", "more"},
		{"final dot answered without end", at("DOT", endless), "uncertain uncertain", "reply of more than"},
		{"dropped in the middle of the final reply", at("DOT", "250-2.0.0 Ok: queued as 1\n"+drop), "uncertain uncertain", ""},
		{"one refused, then dropped after the final dot", twoFaults(first("RCPT", "550 5.1.1 unknown"), at("DOT", drop)), "failed uncertain", "unknown"},
	} {
		for _, pipelining := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, pipelining %v", c.name, pipelining), func(t *testing.T) {
				s := newServer(t)
				s.fault = c.fault
				if !pipelining {
					s.ext = without(s.ext, "PIPELINING")
				}
				o, log := options(t)
				set := newSet(t, route(smarthost(t, s.listen(t))), o)
				results, err := send(t, set, letter("x\r\n", "a@example.net", "b@example.net"))
				checkFault(t, c.want, c.text, results, err)
				if out := fmt.Sprint(results, err, log); strings.Contains(out, password) {
					t.Error("the password is told:", out)
				}
			})
		}
	}
}

func checkFault(t *testing.T, want, text string, results []transport.Result, err error) {
	t.Helper()
	var fault *transport.Unreachable
	if errors.As(err, &fault) {
		if fault.Phase != want || !strings.HasPrefix(err.Error(), want+": ") || !strings.Contains(err.Error(), text) || fault.Upstream != "smart" || results != nil {
			t.Errorf("%v (phase %s); want phase %s and %q", err, fault.Phase, want, text)
		}
		return
	}
	if err != nil || len(results) == 0 || outcomes(results) != want {
		t.Fatalf("%v, %v; want %s", results, err, want)
	}
	if !strings.Contains(results[0].Reply.String(), text) {
		t.Errorf("reply %q; want %q", results[0].Reply, text)
	}
}

func first(step, reply string) func(string, string) string  { return both(step, reply, "") }
func second(step, reply string) func(string, string) string { return both(step, "", reply) }

// both are faults for a@ and b@.
func both(step, a, b string) func(string, string) string {
	return func(s, line string) string {
		switch {
		case s == step && strings.Contains(line, "<a@"):
			return a
		case s == step && strings.Contains(line, "<b@"):
			return b
		}
		return ""
	}
}

func twoFaults(f, g func(string, string) string) func(string, string) string {
	return func(step, line string) string {
		if reply := f(step, line); reply != "" {
			return reply
		}
		return g(step, line)
	}
}

func TestNobodyAcceptedButGoOn(t *testing.T) {
	for _, last := range []string{"554 5.5.1 nobody", "250 2.0.0 queued", drop} {
		t.Run(last, func(t *testing.T) {
			s := newServer(t)
			s.fault = twoFaults(twoFaults(at("RCPT", "550 5.1.1 unknown"), at("DATA", "354 go on")), at("DOT", last))
			o, _ := options(t)
			set := newSet(t, route(smarthost(t, s.listen(t))), o)
			results, err := send(t, set, letter("secret content\r\n", "a@example.net"))
			if err != nil || outcomes(results) != "failed" {
				t.Fatal(results, err)
			}
			if got := s.got(); len(got) != 1 || len(got[0].content) != 0 {
				t.Errorf("the server read %+v", got)
			}
		})
	}
}

func TestServerBreaksOffWhileTheContentIsSent(t *testing.T) {
	for _, c := range []struct{ name, fault, want string }{
		{"with 552", "552 5.3.4 too big", "failed"},
		{"with 452", "452 4.3.1 disk full", "deferred"},
		{"with a yes", "250 2.0.0 queued", "deferred"},
		{"without a word", drop, "deferred"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.ext = without(s.ext, "SIZE 10485760")
			s.fault = at("BODY", c.fault)
			u := smarthost(t, s.listen(t))
			o, _ := options(t)
			set := newSet(t, route(u), o)
			set.Hurry("smart", 200*time.Millisecond)
			m := letter("", "a@example.net")
			m.Body = lines(1 << 20)
			results, err := send(t, set, m)
			if err != nil || outcomes(results) != c.want {
				t.Fatal(results, err)
			}
		})
	}
}

// lines is a body of that many lines of 32 octets.
type lines int

var oneLine = []byte("abcdefghijklmnopqrstuvwxyz0123\r\n")

func (n lines) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(&repeater{}, n.Size())), nil
}
func (n lines) Size() int64  { return int64(n) * int64(len(oneLine)) }
func (lines) EightBit() bool { return false }

type repeater struct{ at int }

func (r *repeater) Read(p []byte) (int, error) {
	n := copy(p, oneLine[r.at:])
	for n < len(p) {
		n += copy(p[n:], oneLine)
	}
	r.at = (r.at + n) % len(oneLine)
	return n, nil
}

type damaged struct{ message.Bytes }

func (d damaged) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("some of it\r\n"), brokenReader{})), nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) {
	return 0, fmt.Errorf("checksum: %w", message.ErrDamaged)
}

func TestDamagedMessageIsNeverEnded(t *testing.T) {
	s := newServer(t)
	o, _ := options(t)
	set := newSet(t, route(smarthost(t, s.listen(t))), o)
	m := letter("", "a@example.net")
	m.Body = damaged{message.Bytes("some of it\r\n and more")}
	results, err := send(t, set, m)
	if err != nil || outcomes(results) != "deferred" || !strings.Contains(results[0].Reply.Text, "damaged") {
		t.Fatal(results, err)
	}
	if results, err := send(t, set, letter("whole\r\n", "a@example.net")); err != nil || outcomes(results) != "delivered" {
		t.Fatal(results, err)
	}
	if got := s.got(); len(got) != 1 || !strings.HasSuffix(string(got[0].content), "whole\r\n") || s.count() != 2 {
		t.Errorf("%d mails in %d sessions", len(got), s.count())
	}
}

func TestContextCutsWhateverHangs(t *testing.T) {
	for _, c := range []struct{ step, want string }{
		{"GREETING", "error"}, {"EHLO", "error"}, {"STARTTLS", "error"}, {"TLS", "error"}, {"AUTH", "error"},
		{"MAIL", "deferred"}, {"RCPT", "deferred"}, {"DATA", "deferred"}, {"BODY", "deferred"}, {"DOT", "uncertain"},
	} {
		t.Run(c.step, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			s := newServer(t)
			s.ext = without(s.ext, "SIZE 10485760")
			s.fault = func(step, _ string) string {
				if step == c.step {
					cancel(errors.New("the gateway stops"))
					return hang
				}
				return ""
			}
			o, _ := options(t)
			set := newSet(t, route(smarthost(t, s.listen(t))), o)
			slot := set.TrySlot("default")
			m := letter("", "a@example.net")
			if m.Body = lines(1); c.step == "BODY" {
				m.Body = lines(1 << 20)
			}
			results, err := slot.Send(ctx, m, nil)
			slot.Release()
			got := outcomes(results)
			if fault := new(transport.Unreachable); errors.As(err, &fault) {
				t.Error("our own end is blamed on the upstream:", err)
			}
			if err != nil {
				got = "error"
			}
			if got != c.want || !strings.Contains(fmt.Sprint(results, err), "the gateway stops") {
				t.Errorf("%v, %v; want %s", results, err, c.want)
			}
			if set.TrySlot("default") == nil {
				t.Error("the upstream is down though our own side ended the try")
			}
		})
	}
}

func TestTLSIsNotNegotiable(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*server, *upstream.Upstream)
		text string
	}{
		{"STARTTLS stripped", func(s *server, u *upstream.Upstream) {
			s.fault = at("EHLO", "250-mx\n250 AUTH PLAIN")
		}, "does not offer STARTTLS"},
		{"HELO only", func(s *server, u *upstream.Upstream) { s.fault = at("EHLO", "502 what") }, "does not offer STARTTLS"},
		{"a reply put in before the handshake", func(s *server, u *upstream.Upstream) { s.injected = "250 injected\r\n" }, "tampers"},
		{"another name", func(s *server, u *upstream.Upstream) { u.ServerName = "mx.example.org" }, "set server_name"},
		{"another root", func(s *server, u *upstream.Upstream) { u.CA = otherRoot(t) }, "set ca"},
		{"implicit TLS to a port that speaks STARTTLS", func(s *server, u *upstream.Upstream) { u.TLS = "implicit" }, "use tls: starttls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			u := smarthost(t, "")
			c.set(s, &u)
			u.Address = s.listen(t)
			o, _ := options(t)
			_, err := send(t, newSet(t, route(u), o), letter("x\r\n", "a@example.net"))
			checkFault(t, "tls", c.text, nil, err)
			for _, line := range s.heard() {
				if strings.HasPrefix(line, "AUTH") || strings.HasPrefix(line, "MAIL") {
					t.Errorf("said in clear: %s", line)
				}
			}
		})
	}
}

func otherRoot(t *testing.T) string {
	path := t.TempDir() + "/root.pem"
	if err := os.WriteFile(path, newPKI().root, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPasswordCrossesNoNetworkInClear(t *testing.T) {
	s := newServer(t)
	u := smarthost(t, "smtp.example.com:25")
	u.TLS, u.CA = "none", ""
	o, _ := options(t)
	set := newSet(t, route(u), o)
	set.Dial("smart", func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe() // not the loopback interface
		s.serve(theirs)
		return ours, nil
	})
	_, err := send(t, set, letter("x\r\n", "a@example.net"))
	checkFault(t, "auth", "in clear", nil, err)
	if heard := s.heard(); len(heard) != 1 {
		t.Errorf("said %q", heard)
	}
}

func TestServerThatRepeatsThePasswordIsNotQuoted(t *testing.T) {
	s := newServer(t)
	s.fault = func(step, line string) string {
		if step == "AUTH" {
			return "535-5.7.8 bad login " + password + "\n535 5.7.8 in " + line
		}
		return ""
	}
	o, log := options(t)
	_, err := send(t, newSet(t, route(smarthost(t, s.listen(t))), o), letter("x\r\n", "a@example.net"))
	out := fmt.Sprint(err, log)
	_, response, _ := strings.Cut(s.heard()[3], "PLAIN ")
	if strings.Contains(out, password) || strings.Contains(out, response) || !strings.Contains(out, "withheld") {
		t.Error(out)
	}
}
