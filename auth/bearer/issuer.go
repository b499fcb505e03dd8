package bearer

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"
)

// issuer is an Issuer with what is known of it: either its keys, or the answers
// it gave about tokens.
type issuer struct {
	config Issuer
	ca     []byte // what the file of config.CA held
	rules  rules
	keys   *keySet
	asker  *asker
}

func newIssuer(cfg Issuer, log *slog.Logger) (*issuer, error) {
	cfg = cfg.withDefaults()
	ca, roots, err := readRoots(cfg.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	i := &issuer{config: cfg, ca: ca, rules: cfg.rules()}
	log = log.With("issuer", cfg.ID())
	switch f := newFetcher(roots); {
	case cfg.Tokeninfo != "":
		i.asker = newAsker(tokeninfo(f, cfg), f.patience, log)
	case cfg.IntrospectionURL != "":
		i.asker = newAsker(introspection(f, cfg), f.patience, log)
	default:
		i.keys = newKeySet(f, cfg, log)
	}
	return i, nil
}

// same tells whether what is known of old holds for i.
func (i *issuer) same(old *issuer) bool {
	return reflect.DeepEqual(i.config, old.config) && bytes.Equal(i.ca, old.ca)
}

// verify tells whom the token proves.
func (i *issuer) verify(ctx context.Context, t token, now func() time.Time) (Proof, error) {
	if i.asker != nil {
		return i.asked(ctx, t, now)
	}
	f := i.rules.header(t.header)
	if f == nil {
		f = i.rules.jwt(t, now())
	}
	if f != nil {
		return Proof{}, i.refuse(f)
	}
	switch known, err := i.keys.verify(ctx, t, now()); {
	case err != nil:
		return Proof{}, i.trouble(err)
	case !known:
		return Proof{}, i.refuse(invalid("is not signed by its issuer", "kid is %q, alg is %q", t.header.KeyID, t.header.Algorithm))
	}
	return i.proof(t.claims), nil
}

// asked tells whom the token proves by the issuer's own word.
func (i *issuer) asked(ctx context.Context, t token, now func() time.Time) (Proof, error) {
	c, err := i.asker.claims(ctx, t.text, now())
	if err != nil {
		return Proof{}, i.trouble(err)
	}
	f := i.rules.answer(c, now())
	if f != nil {
		return Proof{}, i.refuse(f)
	}
	return i.proof(c), nil
}

// proof is what claims that were found good say.
func (i *issuer) proof(c claims) Proof {
	p := Proof{Issuer: i.config.ID(), Subject: c.subject(), Name: c.text(i.rules.claim), by: i}
	if exp, ok := c.time("exp"); ok {
		p.Expires = exp.Add(i.rules.skew)
	}
	return p
}

// refuse makes the refusal of a token of this issuer.
func (i *issuer) refuse(f *fault) error {
	f.issuer = i.config.ID()
	return f.refusal(i.needs())
}

// needs is what a client is told that has to get a token: the scopes, and the URL
// of the discovery document (OpenID Connect Discovery 1.0, section 4) if the
// issuer is known to have one.
func (i *issuer) needs() (scope, discovery string) {
	if i.config.Issuer != "" && i.config.JWKSURL == "" {
		discovery = discoveryURL(i.config.Issuer)
	}
	return strings.Join(i.config.Scopes, " "), discovery
}

func discoveryURL(issuer string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
}
