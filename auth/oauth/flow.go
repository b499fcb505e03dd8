package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

const (
	grantJWT    = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantDevice = "urn:ietf:params:oauth:grant-type:device_code"

	assertionJWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// refresh gets a new token by the credential's flow. A refresh token that came
// with it is kept before it returns, also with a fault.
func (t *Tokens) refresh(ctx context.Context) (answer, *Fault) {
	form := url.Values{"grant_type": {ClientCredentials}, "scope": {strings.Join(t.scopes(), " ")}}
	switch {
	case t.keepsToken():
		return t.refreshByToken(ctx)
	case t.Flow == ServiceAccount:
		account, err := readServiceAccount(t.ServiceAccount)
		if err != nil {
			return answer{}, t.unusable("service_account", err)
		}
		assertion, err := account.assertion(t.subject(), t.tokenURL(), t.scopes(), time.Now())
		if err != nil {
			return answer{}, t.unusable("service_account", err)
		}
		form = url.Values{"grant_type": {grantJWT}, "assertion": {assertion}}
	}
	return t.ask(ctx, form)
}

// refreshByToken holds the refresh token while it is used: a provider that
// rotates them takes each only once, and may end the consent when one is used
// twice (RFC 9700, section 4.14.2).
func (t *Tokens) refreshByToken(ctx context.Context) (answer, *Fault) {
	t.shelf.mu.Lock()
	defer t.shelf.mu.Unlock()
	kept, fault := t.current()
	if fault != nil {
		return answer{}, fault
	}
	form := url.Values{"grant_type": {RefreshToken}, "refresh_token": {kept.RefreshToken}, "scope": {strings.Join(t.scopes(), " ")}}
	a, fault := t.ask(ctx, form)
	if a.refresh != "" && a.refresh != kept.RefreshToken {
		kept.RefreshToken, kept.Saved = a.refresh, time.Now()
		t.keepRotated(kept)
	}
	return a, fault
}

// current is the refresh token to use. The shelf's lock is held.
func (t *Tokens) current() (kept, *Fault) {
	k, found, err := t.shelf.get(t.vault)
	if err != nil {
		return kept{}, &Fault{State: StateMisconfigured, What: err.Error(), Todo: hintOf(err)}
	}
	if t.Flow == RefreshToken {
		first, err := t.RefreshToken.Reveal()
		if err != nil {
			return kept{}, t.unusable("refresh_token", err)
		}
		if !found || k.Seed != seedOf(first) || !t.owns(k) {
			k, found = t.held(first), true // another was written into the file since
			k.Seed = seedOf(first)
		}
	}
	switch {
	case !found:
		return kept{}, &Fault{State: StateNeedsConsent, What: "nobody has logged in yet", Todo: t.loginAgain()}
	case !t.owns(k):
		return kept{}, &Fault{State: StateNeedsConsent, What: "the consent that is kept was given to another client_id or token_url", Todo: t.loginAgain()}
	}
	return k, nil
}

// held is a refresh token as it is kept.
func (t *Tokens) held(refreshToken string) kept {
	return kept{RefreshToken: refreshToken, ClientID: t.ClientID, TokenURL: t.tokenURL(), Saved: time.Now()}
}

// owns tells whether k was given to this client by this endpoint: it is sent to
// no other.
func (t *Tokens) owns(k kept) bool { return k.ClientID == t.ClientID && k.TokenURL == t.tokenURL() }

// keepRotated makes a refresh token durable that took the place of another. Should
// that fail it stays in memory, and is tried again.
func (t *Tokens) keepRotated(k kept) {
	if err := t.shelf.keep(t.vault, k); err != nil {
		t.metrics.OAuthRefreshes.WithLabelValues(t.Upstream, "unsaved").Inc()
		t.log.Error("a new refresh token cannot be stored, and would be lost by a restart", "upstream", t.Upstream, "error", err,
			"hint", hintOf(err)+"; it is kept in memory and tried again each minute: do not restart the relay before")
	}
}

// unusable is the fault of a setting that cannot be used any more.
func (t *Tokens) unusable(key string, err error) *Fault {
	return &Fault{State: StateMisconfigured, What: fmt.Sprintf("%s cannot be used: %v", key, err),
		Todo: fmt.Sprintf("check oauth.%s of upstream %s", key, t.Upstream)}
}

// ask sends a form to the token endpoint in the client's name.
func (t *Tokens) ask(ctx context.Context, form url.Values) (answer, *Fault) {
	r, err := t.post(ctx, t.tokenURL(), form)
	if err != nil {
		return answer{}, t.unanswered(r, err)
	}
	a, err := readAnswer(r.status, r.contentType, r.body)
	if no := new(refusal); errors.As(err, &no) {
		no.tame(func(s string) string { return t.hide(s, form) })
	}
	if err != nil {
		return answer{refresh: a.refresh}, t.judge(hostOf(t.tokenURL()), r, err)
	}
	return a, nil
}

// unanswered is the fault of a request that post could not make.
func (t *Tokens) unanswered(r response, err error) *Fault {
	if f := new(Fault); errors.As(err, &f) {
		return f
	}
	f := passing(r.retryAfter, "%v", err)
	f.Todo = t.suspect(r, err)
	return f
}

// post sends a form with what proves the client (RFC 6749, section 2.3; RFC
// 7523, section 2.2). The error may be a *Fault.
func (t *Tokens) post(ctx context.Context, address string, form url.Values) (response, error) {
	var identity *url.Userinfo
	secret, err := t.ClientSecret.Reveal()
	switch {
	case err != nil:
		return response{}, t.unusable("client_secret", err)
	case t.Flow == ServiceAccount: // its assertion says it all
	case t.Certificate != "":
		assertion, err := t.proof()
		if err != nil {
			return response{}, t.unusable("certificate", err)
		}
		form.Set("client_id", t.ClientID)
		form.Set("client_assertion_type", assertionJWT)
		form.Set("client_assertion", assertion)
	case secret == "":
		form.Set("client_id", t.ClientID)
	case t.clientAuth() == "post":
		form.Set("client_id", t.ClientID)
		form.Set("client_secret", secret)
	default:
		identity = url.UserPassword(t.ClientID, secret)
	}
	return t.endpoint.post(ctx, address, form, identity)
}

// proof is a new client assertion. The files are read anew, as they may have been
// replaced.
func (t *Tokens) proof() (string, error) {
	pair, err := readPair(t.Certificate, t.Key)
	if err != nil {
		return "", err
	}
	t.metrics.CredentialExpiry.WithLabelValues(certificate, t.Upstream).Set(float64(pair.Leaf.NotAfter.Unix()))
	return clientAssertion(pair, t.ClientID, t.tokenURL(), time.Now())
}

// hide takes out of a provider's text what we had sent it.
func (t *Tokens) hide(said string, form url.Values) string {
	secret, _ := t.ClientSecret.Reveal()
	sent := []string{secret}
	for _, key := range []string{"refresh_token", "client_assertion", "assertion", "code", "code_verifier", "device_code"} {
		sent = append(sent, form.Get(key))
	}
	for _, s := range sent {
		if s != "" {
			said = strings.ReplaceAll(said, s, "<secret>")
		}
	}
	return said
}
