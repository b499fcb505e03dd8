// Package bearer answers: whom does this token prove? It verifies the OAuth 2.0
// access tokens that clients log in with (RFC 6750) against the issuers of the
// configuration.
//
// A token takes one of two ways:
//
//   - A JWT (RFC 9068) whose iss is a configured issuer is verified here. First
//     what costs nothing: its header and claims against the rules of the issuer.
//     Then its signature, against the keys the issuer publishes, found by OpenID
//     Connect discovery and remembered. So what would be refused anyway never
//     makes us fetch.
//   - Any other is shown to those issuers that are asked about their tokens, by
//     introspection (RFC 7662) or Google's tokeninfo, and the answer, which is
//     remembered for up to a minute, is judged by the same rules.
//
// A token that is wrong is a [message.TokenRefusal] with 535. One that could not
// be checked, because its issuer is away or talks nonsense, is 454: our trouble,
// never the client's fault.
//
// It leaves to others what a token is sent in (relay/submission) and whose
// account the name in it belongs to (auth).
package bearer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// maxToken is the largest token looked at, in octets.
const maxToken = 16 << 10

// Verifier knows the issuers of one configuration; a reload makes a new one. It
// may be used by any number of sessions at once.
type Verifier struct {
	issuers []*issuer
	now     func() time.Time
}

// Proof is what a token that was found good says.
type Proof struct {
	// Issuer is the [Issuer.ID] of who vouches for it.
	Issuer string
	// Subject is its sub, or the client that got it where it has none.
	Subject string
	// Name is the value of the issuer's account_claim; empty if it has none.
	Name string
	// Expires is when the token is no longer taken; zero: not known.
	Expires time.Time

	by *issuer
}

// New makes the issuers ready. It asks none of them anything yet.
func New(configs []Issuer, log *slog.Logger) (*Verifier, error) {
	v := &Verifier{now: time.Now}
	for n, cfg := range configs {
		var errs []error
		cfg.Check(func(key, format string, args ...any) {
			errs = append(errs, fmt.Errorf("issuers[%d].%s: %s", n, key, fmt.Sprintf(format, args...)))
		})
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		i, err := newIssuer(cfg, log)
		if err != nil {
			return nil, fmt.Errorf("issuers[%d].%w", n, err)
		}
		v.issuers = append(v.issuers, i)
	}
	return v, nil
}

// Keep takes over from before what is known of issuers that did not change: keys,
// answers, and when they were last asked.
func (v *Verifier) Keep(before *Verifier) {
	for n, i := range v.issuers {
		for _, old := range before.issuers {
			if i.same(old) {
				v.issuers[n] = old
			}
		}
	}
}

// Prepare fetches the keys of every issuer that has any, so that the log says at
// once which of them is out of reach. It returns when all have answered or ctx
// has ended.
func (v *Verifier) Prepare(ctx context.Context) {
	var all sync.WaitGroup
	for _, i := range v.issuers {
		if i.keys != nil {
			all.Go(func() { i.keys.current(ctx, v.now()) })
		}
	}
	all.Wait()
}

// Verify tells whom the token proves. Errors are [*message.TokenRefusal], or a
// [*message.Reply] with 454 when it could not be found out; both wrapped in what
// is for the log alone, which never holds the token.
func (v *Verifier) Verify(ctx context.Context, token string) (Proof, error) {
	if f := checkForm(token); f != nil {
		return Proof{}, v.refuse(f)
	}
	t := read(token)
	if i := v.issuer(t.claims.text("iss")); t.isJWT && i != nil {
		return i.verify(ctx, t, v.now)
	}
	return v.ask(ctx, t)
}

// issuer finds the one that calls itself name.
func (v *Verifier) issuer(name string) *issuer {
	for _, i := range v.issuers {
		if name != "" && i.config.Issuer == name {
			return i
		}
	}
	return nil
}

// ask shows the token to those who may know it, in order, until one does. That
// one of them is away counts only if no other knows the token.
func (v *Verifier) ask(ctx context.Context, t token) (Proof, error) {
	err := v.refuse(t.stranger())
	for _, i := range v.mayKnow(t) {
		proof, answer := i.verify(ctx, t, v.now)
		if answer == nil {
			return proof, nil
		}
		if !isTrouble(err) {
			err = answer
		}
	}
	return Proof{}, err
}

// mayKnow lists the issuers to ask about a token that does not say whose it is.
// As whoever is asked could use the token, Google sees only its own, nobody else
// sees those of Google, and a JWT is not shown to an issuer other than its own.
func (v *Verifier) mayKnow(t token) (all []*issuer) {
	google := strings.HasPrefix(t.text, "ya29.") && v.asksGoogle()
	for _, i := range v.issuers {
		switch {
		case i.asker == nil, t.isJWT && i.config.Issuer != "":
		case google == (i.config.Tokeninfo != ""):
			all = append(all, i)
		}
	}
	return all
}

func (v *Verifier) asksGoogle() bool {
	for _, i := range v.issuers {
		if i.config.Tokeninfo != "" {
			return true
		}
	}
	return false
}

// refuse makes the refusal of a token that is no issuer's. Where there is only
// one issuer, the client is told where to get a token.
func (v *Verifier) refuse(f *fault) error {
	if len(v.issuers) == 1 {
		return f.refusal(v.issuers[0].needs())
	}
	return f.refusal("", "")
}
