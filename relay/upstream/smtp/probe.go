package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// Names of the steps of Probe.
const (
	stepDNS      = "dns"
	stepTCP      = "tcp"
	stepGreeting = "greeting"
	stepTLS      = "tls"
	stepEHLO     = "ehlo"
	stepToken    = "token"
	stepAuth     = "auth"
	stepMail     = "mail"
)

// probe is a session that is brought up step by step, by the same functions as
// one that sends.
type probe struct {
	*Client
	c      *conn
	secret string
	from   string
}

// Probe goes each step of a session of its own up to MAIL, which it takes back
// with RSET.
func (h *Client) Probe(ctx context.Context, from string, see func(transport.Step)) {
	p := &probe{Client: h, from: from}
	defer func() {
		if p.c != nil {
			p.c.quit()
		}
	}()
	transport.Walk(ctx, p.parts(), see)
}

// parts are the steps in the order in which this server wants them.
func (p *probe) parts() []transport.Part {
	login := []string{stepEHLO}
	parts := []transport.Part{{Name: stepDNS, Go: p.dns}, {Name: stepTCP, After: []string{stepDNS}, Go: p.tcp}}
	switch p.cfg.TLS {
	case Implicit:
		parts = append(parts, transport.Part{Name: stepTLS, After: []string{stepTCP}, Go: p.handshakeNow}, transport.Part{Name: stepGreeting, After: []string{stepTLS}, Go: p.greeting})
	case StartTLS:
		parts = append(parts, transport.Part{Name: stepGreeting, After: []string{stepTCP}, Go: p.greeting}, transport.Part{Name: stepTLS, After: []string{stepGreeting}, Go: p.startTLSNow})
	default:
		parts = append(parts, transport.Part{Name: stepGreeting, After: []string{stepTCP}, Go: p.greeting})
	}
	last := parts[len(parts)-1].Name
	parts = append(parts, transport.Part{Name: stepEHLO, After: []string{last}, Go: p.hello})
	if p.cfg.Tokens != nil {
		parts = append(parts, transport.Part{Name: stepToken, Go: p.token})
		login = append(login, stepToken)
	}
	return append(parts, transport.Part{Name: stepAuth, After: login, Go: p.auth}, transport.Part{Name: stepMail, After: []string{stepAuth}, Go: p.mail})
}

// fault says what to do about err, as a delivery would.
func (p *probe) fault(phase string, err error) error {
	if err == nil {
		return nil
	}
	var known *transport.Unreachable
	if errors.As(err, &known) {
		return known
	}
	return p.unreachable(phase, err)
}

func (p *probe) dns(ctx context.Context) ([]string, error) {
	host, _, err := net.SplitHostPort(p.cfg.Address)
	if err != nil {
		return nil, p.fault(transport.PhaseConnect, err)
	}
	facts, err := transport.Lookup(ctx, host)
	return facts, p.fault(transport.PhaseConnect, err)
}

func (p *probe) tcp(ctx context.Context) ([]string, error) {
	raw, err := p.Dial(ctx)
	if err != nil {
		return nil, p.fault(transport.PhaseConnect, err)
	}
	p.c = newConn(raw, p.Patience, func() {})
	context.AfterFunc(ctx, p.c.abort)
	return []string{fmt.Sprintf("%s from %s", raw.RemoteAddr(), raw.LocalAddr())}, nil
}

func (p *probe) greeting(context.Context) ([]string, error) {
	err := greeting(p.c)
	return nil, p.fault(transport.PhaseGreeting, err)
}

func (p *probe) startTLSNow(ctx context.Context) ([]string, error) {
	if err := hello(p.c, p.cfg.Hostname); err != nil {
		return nil, p.fault(transport.PhaseGreeting, err)
	}
	err := p.startTLS(ctx, p.c)
	return p.secured(err), p.fault(transport.PhaseTLS, err)
}

func (p *probe) handshakeNow(ctx context.Context) ([]string, error) {
	err := p.handshake(ctx, p.c)
	return p.secured(err), p.fault(transport.PhaseTLS, err)
}

// secured is what was seen of TLS, whether it is up or not.
func (p *probe) secured(err error) []string {
	nc, ok := p.c.nc.(*tls.Conn)
	if err != nil || !ok {
		return transport.SeenCertificate(err)
	}
	return transport.SeenTLS(nc.ConnectionState())
}

// wanted are extensions that save work.
var wanted = []string{"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}

// hello is what is offered, and what of it is needed.
func (p *probe) hello(context.Context) ([]string, error) {
	if err := hello(p.c, p.cfg.Hostname); err != nil {
		return nil, p.fault(phaseOf(err), err)
	}
	var offered, missing []string
	for _, keyword := range wanted {
		if p.c.ext.has(keyword) {
			offered = append(offered, strings.TrimSpace(keyword+" "+p.c.ext[keyword]))
		} else {
			missing = append(missing, keyword)
		}
	}
	facts := []string{"as " + p.cfg.Hostname, "offers " + strings.Join(offered, ", ")}
	if missing != nil {
		facts = append(facts, "lacks "+strings.Join(missing, ", ")+", which nothing depends on")
	}
	mechanism, err := p.choose(p.c.ext)
	switch {
	case err != nil:
		return facts, p.fault(transport.PhaseAuth, err)
	case mechanism == "":
		facts = append(facts, "no login is needed")
	default:
		facts = append(facts, fmt.Sprintf("needs AUTH %s; offers AUTH %s", mechanism, p.c.ext["AUTH"]))
	}
	return facts, nil
}

func (p *probe) token(ctx context.Context) ([]string, error) {
	secret, err := p.Client.secret(ctx)
	if err != nil {
		return nil, p.fault(transport.PhaseToken, err)
	}
	p.secret = secret
	return transport.SeenToken(secret), nil
}

// auth logs in. Like a delivery, it gets another token for one that is refused.
func (p *probe) auth(ctx context.Context) ([]string, error) {
	if p.cfg.Tokens == nil {
		secret, err := p.Client.secret(ctx)
		if err != nil {
			return nil, p.fault(transport.PhaseAuth, err)
		}
		p.secret = secret
	}
	facts := []string{"no login is needed"}
	if mechanism, err := p.choose(p.c.ext); err == nil && mechanism != "" {
		facts = []string{fmt.Sprintf("%s as %s", mechanism, p.cfg.Username)}
	}
	err := p.fault(transport.PhaseAuth, p.login(ctx, p.c, p.secret))
	if p.tokenRefused(err) == nil {
		return facts, err
	}
	p.cfg.Tokens.Reject(p.secret)
	secret, again := p.Client.secret(ctx)
	if again != nil || secret == p.secret {
		return facts, err
	}
	c, again := p.connect(ctx, secret)
	if again != nil {
		return append(facts, "a second token, just issued, is refused as well"), p.fault(transport.PhaseAuth, again)
	}
	p.c.abort()
	p.c = c
	return append(facts, "the first token was refused, a new one is taken"), nil
}

// mail asks whether the sender is taken, and takes it back.
func (p *probe) mail(context.Context) ([]string, error) {
	if p.from == "" {
		return []string{"not asked: no sender is known; name one with --from"}, nil
	}
	reply, err := p.c.command("MAIL FROM:<" + p.from + ">")
	if err != nil {
		return nil, p.fault(transport.PhaseGreeting, fmt.Errorf("MAIL: %w", err))
	}
	if !reply.Positive() {
		return []string{"MAIL FROM:<" + p.from + ">"}, p.refused(reply)
	}
	facts := []string{fmt.Sprintf("MAIL FROM:<%s>: %s", p.from, &reply)}
	if reply, err = p.c.command("RSET"); err == nil && !reply.Positive() {
		err = &reply
	}
	if err != nil {
		return facts, p.fault(transport.PhaseGreeting, fmt.Errorf("RSET: %w", err))
	}
	return append(facts, "RSET: nothing was sent"), nil
}

// refused says what a reply to MAIL means.
func (p *probe) refused(reply message.Reply) error {
	advice := p.cfg.Judge(transport.AtMail, reply).Advice
	if advice.Meaning == "" && slices.Contains([]int{530, 535}, reply.Code) {
		return p.unreachable(transport.PhaseAuth, &reply)
	}
	return &transport.Unreachable{Upstream: p.cfg.Name, Phase: transport.PhaseGreeting, Err: &reply, Hint: advice.Hint, Advice: advice}
}
