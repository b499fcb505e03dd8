package bearer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// goodLife and badLife are how long an answer is remembered, goodLife at
	// most until the token expires. A token that was revoked works so long.
	goodLife = time.Minute
	badLife  = 5 * time.Second
	// maxQuestions is how many are put to one issuer at a time.
	maxQuestions = 10
)

// asker asks an issuer about tokens, and remembers the answers.
type asker struct {
	ask      func(ctx context.Context, token string) (claims, error)
	patience time.Duration
	log      *slog.Logger
	answers  *answers
	flights  singleflight.Group // by hash of the token
	room     chan struct{}

	mu     sync.Mutex
	warned time.Time
}

func newAsker(ask func(context.Context, string) (claims, error), patience time.Duration, log *slog.Logger) *asker {
	return &asker{ask: ask, patience: patience, log: log, answers: newAnswers(), room: make(chan struct{}, maxQuestions)}
}

// claims are what the issuer says of the token, active among them. The error is
// that it said nothing of use.
func (a *asker) claims(ctx context.Context, token string, now time.Time) (claims, error) {
	k := sha256.Sum256([]byte(token))
	if c, ok := a.answers.get(k, now); ok {
		return c, nil
	}
	flight := a.flights.DoChan(string(k[:]), func() (any, error) {
		c, err := a.question(context.WithoutCancel(ctx), token)
		if err != nil {
			a.warn(err, now)
			return nil, err
		}
		a.answers.put(k, c, now)
		return c, nil
	})
	select {
	case r := <-flight:
		c, _ := r.Val.(claims)
		return c, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// question puts one question, when there is room.
func (a *asker) question(ctx context.Context, token string) (claims, error) {
	ctx, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	select {
	case a.room <- struct{}{}:
		defer func() { <-a.room }()
		return a.ask(ctx, token)
	case <-ctx.Done():
		return nil, fmt.Errorf("%d questions are waiting for an answer already", maxQuestions)
	}
}

// warn logs trouble once a minute; each login that fails for it is logged too.
func (a *asker) warn(err error, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.warned) >= pause {
		a.warned = now
		a.log.Warn("an issuer of tokens cannot be asked about them; clients are told 454", "error", err.Error())
	}
}

// introspection asks as in RFC 7662, section 2.
func introspection(f *fetcher, cfg Issuer) func(context.Context, string) (claims, error) {
	return func(ctx context.Context, token string) (claims, error) {
		secret, err := cfg.ClientSecret.Reveal()
		if err != nil {
			return nil, fmt.Errorf("client_secret: %w", err)
		}
		form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, cfg.IntrospectionURL, strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(url.QueryEscape(cfg.ClientID), url.QueryEscape(secret)) // RFC 6749, section 2.3.1
		var c claims
		resp, err := f.do(req, maxAnswer, &c)
		switch {
		case err != nil:
			return nil, err
		case resp.StatusCode != http.StatusOK:
			return nil, fmt.Errorf("%s answered %s; are client_id and client_secret right?", cfg.IntrospectionURL, resp.Status)
		}
		if _, ok := c["active"].(bool); !ok {
			return nil, fmt.Errorf("%s does not say whether the token is active", cfg.IntrospectionURL)
		}
		return c, nil
	}
}

// tokeninfo asks as Google has it. It knows no "active": a token that is not
// valid is answered with 400.
func tokeninfo(f *fetcher, cfg Issuer) func(context.Context, string) (claims, error) {
	where := cfg.tokeninfoURL()
	return func(ctx context.Context, token string) (claims, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, where+"?"+url.Values{"access_token": {token}}.Encode(), nil)
		if err != nil {
			return nil, err
		}
		c := claims{}
		resp, err := f.do(req, maxAnswer, &c)
		switch {
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusUnauthorized:
			return claims{"active": false}, nil
		case resp.StatusCode != http.StatusOK:
			return nil, fmt.Errorf("%s answered %s", where, resp.Status)
		case !c.has("aud"):
			return nil, fmt.Errorf("%s does not say whom the token is for", where)
		}
		c["active"] = true
		return c, nil
	}
}
