package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// advised is an error with what to do about it.
type advised struct {
	error
	hint string
}

func (a advised) Hint() string  { return a.hint }
func (a advised) Unwrap() error { return a.error }

const hintToken = "the token itself is valid: check that username (or mailbox) is the mailbox it was granted for, that the application may send by SMTP, and that SMTP AUTH is on for that mailbox"

// secret is what to log in with, got before anybody is connected to: a token may
// take its time. It is "" where none is needed. Errors are those of connect.
func (h *Client) secret(ctx context.Context) (string, error) {
	if h.cfg.Tokens == nil {
		password, err := h.cfg.Password.Reveal()
		if err != nil {
			return "", h.blame(ctx, transport.PhaseAuth, fmt.Errorf("the password cannot be read: %w", err))
		}
		if h.cfg.PasswordOf != nil {
			password = h.cfg.PasswordOf(password)
		}
		return password, nil
	}
	ctx, done := h.connecting(ctx)
	defer done()
	defer h.took(ctx, transport.PhaseToken, time.Now())
	token, err := h.cfg.Tokens.Token(ctx)
	if err != nil {
		return "", h.blame(ctx, transport.PhaseToken, err)
	}
	return token, nil
}

// tokenRefused is the fault when the server does not take the token it was given,
// and may take another: nil when err is something else.
func (h *Client) tokenRefused(err error) *transport.Unreachable {
	var fault *transport.Unreachable
	var reply *message.Reply
	if h.cfg.Tokens == nil || !errors.As(err, &fault) || fault.Phase != transport.PhaseAuth || !errors.As(err, &reply) {
		return nil
	}
	switch fault.Advice.Action {
	case transport.Reauth:
		return fault
	case transport.Nothing:
		if reply.Permanent() && (slices.Contains([]int{530, 534, 535}, reply.Code) || strings.HasPrefix(reply.Enhanced, "5.7.")) {
			return fault
		}
	}
	return nil
}

// usual are the mechanisms for what there is to log in with, the preferred first.
// The two providers that most tokens are for document XOAUTH2.
func (h *Client) usual() []string {
	switch {
	case h.cfg.Tokens != nil:
		return []string{xoauth2, oauthBearer}
	case !h.cfg.Password.IsZero():
		return []string{plain, login}
	case !h.cfg.Certificate.IsZero():
		return []string{external}
	}
	return nil
}

// choose is the mechanism to log in by; "" when there is nothing to log in with,
// or the certificate alone is to do.
func (h *Client) choose(ext extensions) (string, error) {
	wanted, offered := h.cfg.Mechanisms, ext.mechanisms()
	optional := len(wanted) == 0 && h.cfg.Tokens == nil && h.cfg.Password.IsZero()
	if len(wanted) == 0 {
		wanted = h.usual()
	}
	for _, m := range wanted {
		if slices.Contains(offered, m) {
			return m, nil
		}
	}
	if optional {
		return "", nil
	}
	return "", advised{fmt.Errorf("the server offers AUTH %q, and none of %s", ext["AUTH"], strings.Join(wanted, ", ")),
		"check that its address is for sending mail with a login, and which mechanisms its provider documents"}
}

// login proves who we are. A secret crosses no network in clear.
func (h *Client) login(ctx context.Context, c *conn, secret string) error {
	name, err := h.choose(c.ext)
	if err != nil || name == "" {
		return err
	}
	if _, secured := c.nc.(*tls.Conn); !secured && !toLoopback(c.raw) {
		return errors.New("the password or token would cross the network in clear")
	}
	defer h.took(ctx, transport.PhaseAuth, time.Now())
	m, err := h.mechanism(name, secret)
	if err != nil {
		return err
	}
	reply, challenge, err := authenticate(c, m)
	switch {
	case errors.As(err, new(errNoReply)): // it may repeat what was said
		return errors.New("AUTH: the server answered with something that is no SMTP reply")
	case err != nil:
		return fmt.Errorf("AUTH: %w", err)
	case reply.Code == 235:
		return nil
	}
	reply.Text = withhold(reply.Text, secret)
	if h.cfg.Tokens == nil {
		return &reply
	}
	err = &reply
	if status := withhold(tokenStatus(challenge), secret); status != "" {
		err = fmt.Errorf("%w (the server's reason: %s)", &reply, status)
	}
	if reply.Permanent() {
		err = advised{err, hintToken}
	}
	return err
}

func toLoopback(nc net.Conn) bool {
	a, ok := nc.RemoteAddr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}
