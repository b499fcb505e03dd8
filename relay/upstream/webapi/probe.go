package webapi

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"postern/relay/upstream/transport"
)

// Look is a request that changes nothing, and how its answer is to be read.
type Look struct {
	URL string
	// Right is the permission for sending, as the token names it; "" cannot be
	// seen in the token.
	Right string
	// Hidden stands in the refusal of what sending has no need to see: the token
	// was taken all the same.
	Hidden string
}

// probe is the way to the API, gone step by step.
type probe struct {
	*Client
	look Look
	at   *url.URL
	nc   net.Conn
}

// Probe goes the steps to the API and makes the harmless request.
func (c *Client) Probe(ctx context.Context, look Look, see func(transport.Step)) {
	p := &probe{Client: c, look: look}
	defer func() {
		if p.nc != nil {
			p.nc.Close()
		}
	}()
	transport.Walk(ctx, []transport.Part{
		{Name: "dns", Go: p.dns},
		{Name: "tcp", After: []string{"dns"}, Go: p.tcp},
		{Name: "tls", After: []string{"tcp"}, Go: p.tls},
		{Name: "token", Go: p.token},
		{Name: "request", After: []string{"tls", "token"}, Go: p.request},
	}, see)
}

// fault says what to do about err, as a delivery would.
func (p *probe) fault(phase string, err error) error {
	if err == nil {
		return nil
	}
	return &transport.Unreachable{Upstream: p.cfg.Name, Phase: phase, Err: err, Hint: hint(phase, err)}
}

// dns looks up whom we connect to: the API, or the proxy of the environment.
func (p *probe) dns(ctx context.Context) ([]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.look.URL, nil)
	if err != nil {
		return nil, p.fault(transport.PhaseConnect, err)
	}
	p.at = r.URL
	var facts []string
	if proxy, err := http.ProxyFromEnvironment(r); err == nil && proxy != nil {
		p.at = proxy
		facts = append(facts, "by the proxy "+proxy.Host)
	}
	seen, err := transport.Lookup(ctx, p.at.Hostname())
	return append(facts, seen...), p.fault(transport.PhaseConnect, err)
}

func (p *probe) tcp(ctx context.Context) ([]string, error) {
	port := p.at.Port()
	if port == "" {
		port = map[string]string{"http": "80"}[p.at.Scheme]
	}
	if port == "" {
		port = "443"
	}
	nc, err := p.Dial(ctx, "tcp", net.JoinHostPort(p.at.Hostname(), port))
	if err != nil {
		return nil, p.fault(transport.PhaseConnect, err)
	}
	p.nc = nc
	return []string{fmt.Sprintf("%s from %s", nc.RemoteAddr(), nc.LocalAddr())}, nil
}

// tls is that of the API. Behind a proxy, or without TLS, the request tells.
func (p *probe) tls(ctx context.Context) ([]string, error) {
	if p.at.Scheme != "https" || !strings.HasPrefix(p.look.URL, p.at.Scheme+"://"+p.at.Host) {
		return []string{"not looked at"}, nil
	}
	config := p.http.TLSClientConfig.Clone()
	config.ServerName = p.at.Hostname()
	nc := tls.Client(p.nc, config)
	if err := nc.HandshakeContext(ctx); err != nil {
		return transport.SeenCertificate(err), p.fault(transport.PhaseTLS, err)
	}
	return transport.SeenTLS(nc.ConnectionState()), nil
}

// token gets one, and looks whether it is for sending as far as that shows.
func (p *probe) token(ctx context.Context) ([]string, error) {
	token, err := p.cfg.Tokens.Token(ctx)
	if err != nil {
		return nil, p.fault(transport.PhaseAuth, err)
	}
	facts := transport.SeenToken(token)
	rights, known := transport.TokenRights(token)
	if p.look.Right == "" || !known {
		return facts, nil
	}
	for _, right := range rights {
		if right == p.look.Right {
			return facts, nil
		}
	}
	return facts, &transport.Unreachable{Upstream: p.cfg.Name, Phase: transport.PhaseAuth,
		Err:  fmt.Errorf("the token does not name %s, so nothing can be sent with it", p.look.Right),
		Hint: "grant the application CLIENT_ID the permission " + p.look.Right + " of the API with admin consent (Entra admin center, App registrations, API permissions); a new token names it after a minute"}
}

// request asks for what may be seen, with the client that sends.
func (p *probe) request(ctx context.Context) ([]string, error) {
	a, err := p.Begin(ctx).Do(Request{Method: http.MethodGet, URL: p.look.URL})
	if err != nil {
		return nil, err
	}
	reply := a.Reply()
	switch {
	case a.Status == http.StatusOK:
		return []string{"GET " + p.look.URL + ": 200, the mailbox is there"}, nil
	case a.Status == http.StatusForbidden && strings.Contains(strings.ToLower(reply.Text), p.look.Hidden):
		return []string{"GET " + p.look.URL + ": 403, the token is taken, and may not see the mailbox; sending has no need to"}, nil
	}
	advice := p.cfg.Judge(transport.AtRequest, reply).Advice
	return nil, &transport.Unreachable{Upstream: p.cfg.Name, Phase: transport.PhaseAuth, Err: &reply, Hint: advice.Hint, Advice: advice}
}
