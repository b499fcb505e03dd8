package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"

	"postern/relay/message"
)

// Phases of reaching an upstream, in order. PhaseToken is the fetching of an
// access token, for which nobody is connected to yet.
const (
	PhaseToken    = "token"
	PhaseConnect  = "connect"
	PhaseTLS      = "tls"
	PhaseGreeting = "greeting"
	PhaseAuth     = "auth"
	// PhaseHeld is that of an upstream which is held: it was not tried.
	PhaseHeld = "held"
)

// Unreachable says that an upstream could not be brought to the point where it
// takes mail. Nothing was handed over, and no message is to blame.
type Unreachable struct {
	Upstream string
	// Phase is what failed: one of the words above.
	Phase string
	// Err is what happened; a *message.Reply when the upstream said so.
	Err error
	// Hint says what to do about it.
	Hint string
	// Advice is what it asks of us: Configure when nothing but a person helps,
	// Slow or Hold when it is there and takes no more.
	Advice Advice
}

// Error leaves out the name: whoever shows it says which upstream was tried.
func (u *Unreachable) Error() string {
	if u.Hint == "" {
		return fmt.Sprintf("%s: %v", u.Phase, u.Err)
	}
	return fmt.Sprintf("%s: %v; %s", u.Phase, u.Err, u.Hint)
}

func (u *Unreachable) Unwrap() error { return u.Err }

// Unfit says that an upstream cannot carry a message, or not to everybody, and
// that another one of its lane may. Nothing was handed over.
type Unfit struct {
	Upstream string
	Reply    *message.Reply
}

// Error leaves out the name, as that of Unreachable does.
func (u *Unfit) Error() string { return u.Reply.Error() }

// LoginRefused tells whether it was a 5yz reply to AUTH, or one to MAIL that
// asks for AUTH.
func (u *Unreachable) LoginRefused() bool {
	var reply *message.Reply
	return u.Phase == PhaseAuth && errors.As(u.Err, &reply) && reply.Permanent()
}

// NewUnreachable adds the hint that fits: that of err, if it, or one it wraps, has
// a Hint. One that is [Lasting] asks for Configure.
func NewUnreachable(upstream, phase string, err error) *Unreachable {
	u := &Unreachable{Upstream: upstream, Phase: phase, Err: err, Hint: hint(phase, err)}
	var lasting Lasting
	if errors.As(err, &lasting) && lasting.Lasting() {
		u.Advice.Action = Configure
	}
	return u
}

func hint(phase string, err error) string {
	var own interface {
		error
		Hint() string
	}
	if errors.As(err, &own) {
		return own.Hint()
	}
	switch phase {
	case PhaseToken:
		return "it is asked for again by and by; if this lasts, check that this machine can reach the token endpoint"
	case PhaseConnect:
		if dns := new(net.DNSError); errors.As(err, &dns) {
			return "check the host in its address, and the resolver of this machine"
		}
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			return "source_address must be an address of this machine"
		}
		return "check its address and port, and that a firewall lets this machine out"
	case PhaseTLS:
		return hintTLS(err)
	case PhaseGreeting:
		return "it does not take mail now; if this lasts, check hostname and that its port speaks SMTP"
	}
	return "check its username and password, and that the account may send by SMTP"
}

func hintTLS(err error) string {
	if unknown := new(x509.UnknownAuthorityError); errors.As(err, unknown) {
		return "set ca to a PEM file with the root its certificate comes from"
	}
	if invalid := new(x509.CertificateInvalidError); errors.As(err, invalid) && invalid.Reason == x509.Expired {
		return "its certificate is not valid now: check the clock of this machine; if that is right, only its operator can mend it"
	}
	if name := new(x509.HostnameError); errors.As(err, name) {
		return "set server_name to a name its certificate has"
	}
	if refused := new(net.OpError); errors.As(err, &refused) && refused.Op == "remote error" {
		return "the server ended TLS: check certificate, if it wants one of us, and min_tls"
	}
	if record := new(tls.RecordHeaderError); errors.As(err, record) {
		return "the port does not begin with TLS: use tls: starttls"
	}
	return "check tls (starttls is usual on port 587, implicit on 465) and its certificate"
}
