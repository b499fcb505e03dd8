package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// Login leads a person through consent for one credential; what comes of it is a
// refresh token for Keep.
type Login struct{ t *Tokens }

// Login is that of an upstream. The error says why nobody has to log in there, and
// what to do instead.
func (s *Set) Login(upstream string) (*Login, error) {
	t := s.find(upstream)
	if t == nil {
		return nil, fmt.Errorf("the configuration has no upstream %q with oauth; those with are: %s", upstream, strings.Join(s.Names(), ", "))
	}
	if !t.interactive() {
		return nil, t.refuseLogin()
	}
	return &Login{t}, nil
}

// refuseLogin says what to do where no person has to agree.
func (t *Tokens) refuseLogin() error {
	instead := map[string]string{
		ClientCredentials: "an administrator grants the app its permissions at the provider",
		ServiceAccount:    "an administrator allows the service account to act for the mailbox",
		RefreshToken:      "write a new refresh token as refresh_token, then: postern reload",
	}[t.Flow]
	return fmt.Errorf("upstream %s has the flow %s, for which nobody logs in here: %s", t.Upstream, t.Flow, instead)
}

// Flow is the credential's: Device or AuthorizationCode.
func (l *Login) Flow() string { return l.t.Flow }

// Code is what a person enters on another machine (RFC 8628, section 3.2).
type Code struct {
	// URL is the page to visit, Code what to enter there.
	URL, Code string
	Expires   time.Time

	device   string
	interval time.Duration
}

// Bounds of what a provider says about a device code.
const (
	usualInterval = 5 * time.Second // RFC 8628, section 3.5
	mostInterval  = time.Minute
	mostCodeLife  = time.Hour
)

// Device asks for a code.
func (l *Login) Device(ctx context.Context) (Code, error) {
	form := url.Values{"client_id": {l.t.ClientID}, "scope": {strings.Join(l.t.scopes(), " ")}}
	r, err := l.t.post(ctx, l.t.deviceURL(), form)
	if err != nil {
		return Code{}, explained(l.t.unanswered(r, err))
	}
	host := hostOf(l.t.deviceURL())
	if r.status != http.StatusOK {
		_, err := readAnswer(r.status, r.contentType, r.body)
		return Code{}, l.t.explain(host, r, err, form)
	}
	var said oauth2.DeviceAuthResponse
	if json.Unmarshal(r.body, &said) != nil {
		return Code{}, fmt.Errorf("%s %w", host, notJSON(r.status, r.contentType))
	}
	if !wellFormed(said.DeviceCode) || said.UserCode == "" || checkURL(said.VerificationURI) != nil {
		return Code{}, fmt.Errorf("%s gave no code, or no page to enter it", host)
	}
	now := time.Now()
	c := Code{URL: oneLine(said.VerificationURI, 300), Code: oneLine(said.UserCode, 60), device: said.DeviceCode, Expires: now.Add(15 * time.Minute)}
	if said.Expiry.After(now) {
		c.Expires = said.Expiry
	}
	if most := now.Add(mostCodeLife); c.Expires.After(most) {
		c.Expires = most
	}
	c.interval = usualInterval
	if said.Interval > 0 {
		c.interval = time.Duration(min(said.Interval, int64(mostInterval/time.Second))) * time.Second
	}
	return c, nil
}

// Await waits until the person has agreed, and returns the refresh token. It asks
// no more often than the provider wants (RFC 8628, section 3.5); one that cannot
// be reached for a while is no reason to give up.
func (l *Login) Await(ctx context.Context, c Code) (refreshToken string, err error) {
	ctx, cancel := context.WithDeadline(ctx, c.Expires)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return "", errors.New("nobody has entered the code in time; begin anew")
			}
			return "", ctx.Err()
		case <-time.After(c.interval):
		}
		form := url.Values{"grant_type": {grantDevice}, "device_code": {c.device}, "client_id": {l.t.ClientID}}
		a, fault := l.t.ask(ctx, form)
		if fault == nil {
			return l.consented(a)
		}
		switch no := fault.code; {
		case no == "slow_down":
			c.interval += usualInterval
		case no == "authorization_declined", no == "access_denied":
			return "", errors.New("the person has declined")
		case no == "expired_token", no == "bad_verification_code":
			return "", errors.New("nobody has entered the code in time; begin anew")
		case fault.Lasting():
			return "", explained(fault)
		} // else it is pending, or the provider is out of reach for the moment
	}
}

// consented is the refresh token that came with an answer.
func (l *Login) consented(a answer) (string, error) {
	if a.refresh == "" {
		return "", errors.New("the provider gave an access token but no refresh token, so it would end within the hour; " +
			"add what asks for one to scopes: mostly offline_access")
	}
	return a.refresh, nil
}

// explain is the error of a response that was none of what was asked for.
func (t *Tokens) explain(host string, r response, err error, form url.Values) error {
	if no := new(refusal); errors.As(err, &no) {
		no.tame(func(s string) string { return t.hide(s, form) })
	}
	if err == nil {
		err = errors.New("answered with something else than was asked for")
	}
	return explained(t.judge(host, r, err))
}

// explained is a fault for a person who waits for the answer: it is not tried
// again.
func explained(f *Fault) error { return fmt.Errorf("%w; %s", f, strings.TrimPrefix(f.Todo, again)) }
