package upstream_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

// tokens hands out the first of its tokens that was not rejected.
type tokens struct {
	mu       sync.Mutex
	left     []string
	rejected []string
	err      error
}

func (t *tokens) Token(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return "", t.err
	}
	return t.left[0], ctx.Err()
}

func (t *tokens) Reject(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rejected = append(t.rejected, token)
	if len(t.left) > 1 && t.left[0] == token {
		t.left = t.left[1:]
	}
}

// lastingError is that of tokens which only a person can renew.
type lastingError struct{}

func (lastingError) Error() string { return "invalid_grant: consent was withdrawn" }
func (lastingError) Lasting() bool { return true }
func (lastingError) Hint() string  { return "run postern login smart" }

// withTokens is a set that sends through s with tokens alone.
func withTokens(t *testing.T, s *server, tok transport.Tokens, change func(*upstream.Upstream)) (*upstream.Set, *logBuffer) {
	u := smarthost(t, s.listen(t))
	u.Username, u.Password, u.Mailbox = "", setting.Secret{}, address("box@example.com")
	if change != nil {
		change(&u)
	}
	o, log := options(t)
	o.Tokens = map[string]transport.Tokens{"smart": tok}
	return newSet(t, route(u), o), log
}

const goodToken = "ya29.canary-token-0123456789abcdef"

func offering(auth string) []string {
	return append(without(fullExtensions, "AUTH PLAIN LOGIN"), "AUTH "+auth)
}

func TestTokensAsTheyGoOverTheWire(t *testing.T) {
	long := strings.Repeat("a.B-c_9~", 300)
	xoauth2 := func(user, token string) string {
		return base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + token + "\x01\x01"))
	}
	for _, c := range []struct {
		name    string
		offered string
		change  func(*upstream.Upstream)
		token   string
		oneLine bool // the server refuses the bare command
		want    func(host, port string) []string
	}{
		{"XOAUTH2 in one line", "LOGIN XOAUTH2", nil, "abc.def", false, func(string, string) []string {
			return []string{"AUTH XOAUTH2 " + xoauth2("box@example.com", "abc.def")}
		}},
		{"XOAUTH2 is preferred where both are offered", "OAUTHBEARER XOAUTH2", nil, "abc.def", false, func(string, string) []string {
			return []string{"AUTH XOAUTH2 " + xoauth2("box@example.com", "abc.def")}
		}},
		{"a long token in two steps", "XOAUTH2", nil, long, false, func(string, string) []string {
			return []string{"AUTH XOAUTH2", xoauth2("box@example.com", long)}
		}},
		{"a long token in one line to a server that knows nothing else", "XOAUTH2", nil, long, true, func(string, string) []string {
			return []string{"AUTH XOAUTH2", "AUTH XOAUTH2 " + xoauth2("box@example.com", long)}
		}},
		{"username, where it is not the mailbox", "XOAUTH2", func(u *upstream.Upstream) { u.Username = "user@example.com" }, "abc.def", false, func(string, string) []string {
			return []string{"AUTH XOAUTH2 dXNlcj11c2VyQGV4YW1wbGUuY29tAWF1dGg9QmVhcmVyIGFiYy5kZWYBAQ=="} // as Google documents it
		}},
		{"OAUTHBEARER where XOAUTH2 is not offered", "PLAIN OAUTHBEARER", func(u *upstream.Upstream) { u.Username = "a=b,c@example.com" }, "abc.def", false, func(host, port string) []string {
			return []string{"AUTH OAUTHBEARER " + base64.StdEncoding.EncodeToString([]byte("n,a=a=3Db=2Cc@example.com,\x01host="+host+"\x01port="+port+"\x01auth=Bearer abc.def\x01\x01"))}
		}},
		{"OAUTHBEARER by choice, the user in the token", "XOAUTH2 OAUTHBEARER", func(u *upstream.Upstream) { u.Mailbox, u.Mechanisms = address(""), []string{"OAUTHBEARER"} }, "abc.def", false, func(host, port string) []string {
			return []string{"AUTH OAUTHBEARER " + base64.StdEncoding.EncodeToString([]byte("n,,\x01host="+host+"\x01port="+port+"\x01auth=Bearer abc.def\x01\x01"))}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.ext = offering(c.offered)
			s.takes = func(token string) bool { return token == c.token }
			if c.oneLine {
				s.fault = at("TWO STEPS", "501 5.5.4 say it in one line")
			}
			var host, port string
			set, _ := withTokens(t, s, &tokens{left: []string{c.token}}, func(u *upstream.Upstream) {
				host, port, _ = strings.Cut(u.Address, ":")
				if c.change != nil {
					c.change(u)
				}
			})
			results, err := send(t, set, letter("x\r\n", "a@example.net"))
			if err != nil || outcomes(results) != "delivered" {
				t.Fatal(results, err)
			}
			heard := s.heard()
			from := slices.IndexFunc(heard, func(l string) bool { return strings.HasPrefix(l, "AUTH") })
			to := slices.IndexFunc(heard, func(l string) bool { return strings.HasPrefix(l, "MAIL") })
			if want := c.want(host, port); !slices.Equal(heard[from:to], want) {
				t.Errorf("said %q\nwant %q", heard[from:to], want)
			}
		})
	}
}

func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(step, line string) string
		code  string
	}{
		{"refused at AUTH with a reason", nil, `{"status":"401","schemes":"bearer","scope":"https://mail.example.com/"}`},
		{"refused at AUTH at once", nil, ""},
		{"refused at MAIL", at("MAIL", "530 5.7.57 client not authenticated to send mail"), ""},
	} {
		for _, mechanism := range []string{"XOAUTH2", "OAUTHBEARER"} {
			t.Run(c.name+", "+mechanism, func(t *testing.T) {
				s := newServer(t)
				s.ext, s.challenge = offering(mechanism), c.code
				stale := true // the first token
				s.takes = func(token string) bool { stale = token != goodToken; return !stale || c.fault != nil }
				s.fault = func(step, line string) string {
					if c.fault != nil && stale {
						return c.fault(step, line)
					}
					return ""
				}
				tok := &tokens{left: []string{"old-canary-token-aaaaaaaa", goodToken}}
				set, log := withTokens(t, s, tok, nil)
				results, err := send(t, set, letter("x\r\n", "a@example.net"))
				if err != nil || outcomes(results) != "delivered" || len(tok.rejected) != 1 || s.count() != 2 {
					t.Fatal(results, err, tok.rejected, s.count())
				}
				if want := map[string]string{"XOAUTH2": "", "OAUTHBEARER": "AQ=="}[mechanism]; c.code != "" && !slices.Contains(s.heard(), want) {
					t.Errorf("the reason is not answered with %q: %q", want, s.heard())
				}
				if strings.Contains(log.String(), "down") {
					t.Error(log)
				}
			})
		}
	}
}

func TestTokensThatAreAllRefusedNeedAPerson(t *testing.T) {
	s := newServer(t)
	s.ext, s.challenge = offering("XOAUTH2"), `{"status":"400","scope":"https://mail.example.com/"}`
	set, log := withTokens(t, s, &tokens{left: []string{"first-canary-token", "second-canary-token"}}, nil)
	_, err := send(t, set, letter("x\r\n", "a@example.net"))
	var fault *transport.Unreachable
	if !errors.As(err, &fault) || fault.Phase != "auth" || fault.Advice.Action != transport.Configure || !fault.LoginRefused() {
		t.Fatalf("%+v", err)
	}
	for _, want := range []string{"535 5.7.8 no", "status 400, scope https://mail.example.com/", "SMTP AUTH is on"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if s.count() != 2 || strings.Contains(fmt.Sprint(err, log), "canary") {
		t.Errorf("%d sessions: %v\n%s", s.count(), err, log)
	}
}

func TestAServerThatIsOutOfOrderCostsNoToken(t *testing.T) {
	s := newServer(t)
	s.ext, s.takes, s.fault = offering("XOAUTH2"), func(string) bool { return true }, at("AUTH", "454 4.7.0 try later")
	tok := &tokens{left: []string{goodToken}}
	set, _ := withTokens(t, s, tok, nil)
	_, err := send(t, set, letter("x\r\n", "a@example.net"))
	var fault *transport.Unreachable
	if !errors.As(err, &fault) || fault.Advice.Action != transport.Nothing || fault.LoginRefused() || tok.rejected != nil || s.count() != 1 {
		t.Errorf("%+v, rejected %q, %d sessions", err, tok.rejected, s.count())
	}
}

func TestTokensThatCannotBeHad(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		action transport.Action
		want   string
	}{
		{"for now", errors.New("the token endpoint answered 503"), transport.Nothing, "token: the token endpoint answered 503; it is asked for again by and by"},
		{"until somebody does something", fmt.Errorf("refresh: %w", lastingError{}), transport.Configure, "token: refresh: invalid_grant: consent was withdrawn; run postern login smart"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.ext = offering("XOAUTH2")
			set, _ := withTokens(t, s, &tokens{err: c.err}, nil)
			_, err := send(t, set, letter("x\r\n", "a@example.net"))
			var fault *transport.Unreachable
			if !errors.As(err, &fault) || fault.Advice.Action != c.action || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%+v", err)
			}
			if s.count() != 0 {
				t.Error("a connection was made without a token")
			}
		})
	}
}

func TestNoMechanismInCommon(t *testing.T) {
	s := newServer(t)
	s.ext = offering("GSSAPI NTLM")
	set, _ := withTokens(t, s, &tokens{left: []string{goodToken}}, nil)
	_, err := send(t, set, letter("x\r\n", "a@example.net"))
	if err == nil || !strings.Contains(err.Error(), `the server offers AUTH "GSSAPI NTLM", and none of XOAUTH2, OAUTHBEARER; check`) {
		t.Error(err)
	}
}

func TestASecretThatIsRepeatedIsNotTold(t *testing.T) {
	inBase64 := base64.StdEncoding.EncodeToString([]byte("user=box@example.com\x01auth=Bearer " + goodToken + "\x01\x01"))
	for _, reply := range []string{
		"535 5.7.8 not " + goodToken, "535 5.7.8 your " + goodToken[3:25] + "...", "535 5.7.8 <" + inBase64 + ">", "535 " + inBase64[2:60],
		"you said AUTH XOAUTH2 " + inBase64, "535-no\n534 " + goodToken,
	} {
		s := newServer(t)
		s.ext, s.fault = offering("XOAUTH2"), at("AUTH", reply)
		s.challenge = `{"status":"` + goodToken + `"}`
		set, log := withTokens(t, s, &tokens{left: []string{goodToken}}, nil)
		results, err := send(t, set, letter("x\r\n", "a@example.net"))
		out := fmt.Sprint(results, err, log)
		if err == nil || strings.Contains(out, goodToken[8:20]) || strings.Contains(out, inBase64[40:52]) {
			t.Errorf("%q: %s", reply, out)
		}
	}
}

func TestASecretDoesNotCrossTheNetworkInClear(t *testing.T) {
	s := newServer(t)
	s.ext = offering("XOAUTH2 PLAIN")
	set, _ := withTokens(t, s, &tokens{left: []string{goodToken}}, func(u *upstream.Upstream) { u.TLS, u.CA = "none", "" })
	set.Dial("smart", func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe() // not the loopback interface
		s.serve(theirs)
		return ours, nil
	})
	_, err := send(t, set, letter("x\r\n", "a@example.net"))
	if err == nil || !strings.Contains(err.Error(), "in clear") || slices.ContainsFunc(s.heard(), func(l string) bool { return strings.Contains(l, "AUTH") }) {
		t.Error(err, s.heard())
	}
}

func TestAServerThatAsksOnAndOnIsLeft(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"} {
		s := newServer(t)
		s.ext, s.fault = offering(mechanism), at("ASK", "bW9yZQ==")
		set, _ := withTokens(t, s, &tokens{left: []string{goodToken}}, func(u *upstream.Upstream) {
			if mechanism == "PLAIN" || mechanism == "LOGIN" {
				u.Username, u.Password, u.Mechanisms = username, setting.Plain(password), []string{mechanism}
			}
		})
		_, err := send(t, set, letter("x\r\n", "a@example.net"))
		if err == nil || !strings.Contains(err.Error(), "asks for more than "+mechanism) || len(s.heard()) > 10 {
			t.Error(mechanism, err, len(s.heard()))
		}
	}
}

func TestTheTimeOfATokenIsCounted(t *testing.T) {
	s := newServer(t)
	s.ext, s.takes = offering("XOAUTH2"), func(string) bool { return true }
	u := smarthost(t, s.listen(t))
	o, _ := options(t)
	o.Tokens = map[string]transport.Tokens{"smart": &tokens{left: []string{goodToken}}}
	if _, err := send(t, newSet(t, route(u), o), letter("x\r\n", "a@example.net")); err != nil {
		t.Fatal(err)
	}
	if n := testutil.CollectAndCount(o.Metrics.UpstreamPhase); n < 6 {
		t.Errorf("%d phases", n)
	}
}
