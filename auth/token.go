package auth

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"postern/auth/bearer"
	"postern/relay/message"
)

// Bearer tells which account a token proves, given from addr with the login
// name, which may be empty: the account that lists its subject, else the one
// that has the name in its account_claim. Errors are [*message.TokenRefusal], or
// a [*message.Reply] with 454 when the token could not be checked.
func (a *Accounts) Bearer(ctx context.Context, name, token string, addr netip.Addr) (message.Identity, error) {
	proof, err := a.tokens.Verify(ctx, token)
	if err != nil {
		return message.Identity{}, err
	}
	acc := a.proved(proof)
	switch {
	case acc == nil:
		err = proof.Refuse("names no account here", fmt.Sprintf("no account has the subject %q or the name %q", proof.Subject, proof.Name))
	case name != "" && a.byName[fold(name)] != acc:
		err = proof.Refuse("is not for the user name given", fmt.Sprintf("it is for account %s, and was given with another user name", acc.name))
	case !acc.allows(addr):
		err = proof.Refuse("is not valid from this address", fmt.Sprintf("it is for account %s, whose networks do not hold %s", acc.name, addr))
	default:
		return message.Identity{Account: acc.name, User: proof.Subject, Expires: proof.Expires}, nil
	}
	return message.Identity{}, err
}

// proved is the account a token opens; nil if there is none.
func (a *Accounts) proved(p bearer.Proof) *account {
	for _, subject := range []string{p.Subject, p.Name} {
		if acc := a.subjects[bearer.Subject{Issuer: p.Issuer, Subject: subject}]; acc != nil {
			return acc
		}
	}
	return a.byName[fold(p.Name)] // nobody's name is empty
}

// Keep takes over from the accounts of the configuration before what is known
// of issuers that did not change.
func (a *Accounts) Keep(before *Accounts) { a.tokens.Keep(before.tokens) }

// Prepare asks the issuers for their keys, so that the log says who is out of
// reach. It may take a while.
func (a *Accounts) Prepare(ctx context.Context) { a.tokens.Prepare(ctx) }

// takesTokens tells whether a mechanism is for tokens.
func takesTokens(mechanism string) bool {
	return mechanism == "XOAUTH2" || mechanism == "OAUTHBEARER"
}

// TakesTokens tells whether a mechanism for tokens is offered.
func (c Config) TakesTokens() bool { return slices.ContainsFunc(c.Mechanisms, takesTokens) }

// checkIssuers reports issuers that are listed twice.
func (c Config) checkIssuers(bad func(key, format string, args ...any)) {
	for i, issuer := range c.Issuers {
		twice := slices.ContainsFunc(c.Issuers[:i], func(b bearer.Issuer) bool { return b.ID() == issuer.ID() })
		if twice && issuer.ID() != "" {
			bad(element("issuers", i), "%q is listed twice; an audience may have several values in one entry", issuer.ID())
		}
	}
}

// CheckSubjects reports subjects of issuers that are not there, and those that
// more than one account has.
func CheckSubjects(c Config, accounts []Account, bad func(i int, key, format string, args ...any)) {
	owner := make(map[bearer.Subject]string)
	for i, a := range accounts {
		for j, s := range a.Subjects {
			key := element("subjects", j)
			switch first, taken := owner[s]; {
			case s.Issuer == "" || s.Subject == "":
				bad(i, key, "needs both issuer and subject")
			case !slices.ContainsFunc(c.Issuers, func(b bearer.Issuer) bool { return b.ID() == s.Issuer }):
				bad(i, key, "auth.issuers has no %q; write its issuer to the letter, or if it has none its introspection_url or tokeninfo", s.Issuer)
			case taken:
				bad(i, key, "%q is already a subject of account %q", s.Subject, first)
			default:
				owner[s] = a.Name
			}
		}
	}
}
