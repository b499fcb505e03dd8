package upstream_test

import (
	"errors"
	"io"
	"testing"

	"postern/relay/message"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
)

type ended struct{}

func (ended) Error() string { return "invalid_grant" }
func (ended) Lasting() bool { return true }
func (ended) Hint() string  { return "run: postern login one" }

func TestWhatIsLearnedOfATry(t *testing.T) {
	reply := func(code int, enhanced, text string) message.Reply {
		return message.Reply{Code: code, Enhanced: enhanced, Text: text}
	}
	result := func(o message.Outcome, a transport.Action, r message.Reply) transport.Result {
		return transport.Result{Result: message.Result{Outcome: o, Reply: r}, Advice: transport.Advice{Action: a}}
	}
	fault := func(phase string, err error, a transport.Action) error {
		return &transport.Unreachable{Phase: phase, Err: err, Advice: transport.Advice{Action: a}}
	}
	ok := result(message.Delivered, transport.Nothing, reply(250, "2.0.0", "ok"))
	threads := reply(432, "4.3.2", "STOREDRV.ClientSubmit; sender thread limit exceeded")
	rate := reply(454, "", "Throttling failure: Maximum sending rate exceeded")
	for _, c := range []struct {
		name    string
		results []transport.Result
		err     error
		want    string
	}{
		{"delivered", []transport.Result{ok}, nil, "up"},
		{"refused for good", []transport.Result{result(message.Failed, transport.Nothing, reply(550, "5.1.1", "unknown"))}, nil, "up"},
		{"too fast", []transport.Result{result(message.Deferred, transport.Slow, rate)}, nil, "up, too fast"},
		{"too many connections", []transport.Result{result(message.Deferred, transport.Slow, threads)}, nil, "up, too many"},
		{"turned away for too many connections", nil, fault("greeting", &message.Reply{Code: 421, Text: "Too many concurrent SMTP connections"}, transport.Slow), "up, too many"},
		{"turned away, closing the connection", nil, fault("greeting", &message.Reply{Code: 421, Text: "Try again later, closing connection."}, transport.Slow), "up, too fast"},
		{"a quota, of one recipient among others", []transport.Result{ok, result(message.Deferred, transport.Hold, reply(550, "5.4.5", "Daily quota"))}, nil, "held for quota"},
		{"a quota at the login", nil, fault("auth", &message.Reply{Code: 451}, transport.Hold), "held for quota"},
		{"not as it is configured", []transport.Result{result(message.Deferred, transport.Configure, reply(554, "5.2.2", "mailbox full"))}, nil, "held for configuration"},
		{"a token refused twice", []transport.Result{result(message.Deferred, transport.Reauth, reply(535, "5.7.3", "no"))}, nil, "held for configuration"},
		{"a password refused", nil, fault("auth", &message.Reply{Code: 535}, transport.Nothing), "held for configuration"},
		{"a certificate of somebody else", nil, fault("tls", io.EOF, transport.Configure), "held for configuration"},
		{"consent that is gone", nil, fault("token", ended{}, transport.Nothing), "held for consent"},
		{"configuration outweighs a quota", []transport.Result{result(message.Deferred, transport.Hold, rate), result(message.Deferred, transport.Configure, rate)}, nil, "held for configuration"},
		{"out of reach", nil, fault("connect", io.EOF, transport.Nothing), "down"},
		{"what is too large for it", nil, &transport.Unfit{Reply: &message.Reply{}}, "up"},
		{"what could not be made ready", nil, transport.Unprepared{Err: io.EOF}, "up"},
		{"broken off by ourselves", nil, transport.ErrStopping, "nothing"},
		{"broken off by ourselves, otherwise", nil, errors.New("context ended"), "nothing"},
	} {
		if got := upstream.Lesson(c.results, c.err); got != c.want {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
}
