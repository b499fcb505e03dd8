package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// find looks for the entry of a login; it is nil if there is none. That there
// are several is not told by their number alone: a server may have shown one of
// them only.
func (d *directory) find(ctx context.Context, name string) (one *ldap.Entry, several bool, err error) {
	wanted := append(slices.Clone(d.filter.attributes), d.config.MailAttributes...)
	seconds := max(1, int(time.Duration(d.config.Timeout).Seconds()))
	request := ldap.NewSearchRequest(d.config.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, seconds, false,
		d.filter.with(name), wanted, nil)
	var found *ldap.SearchResult
	err = d.finders.ask(ctx, func(c *ldap.Conn) (err error) {
		found, err = c.Search(request)
		return err
	})
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return nil, true, nil
	case err != nil:
		return nil, false, err
	case len(found.Entries) == 0: // references to elsewhere may stand there, which are not followed
		return nil, false, nil
	}
	return found.Entries[0], len(found.Entries) > 1, nil
}

// wrong are the results of a bind that say no for good: as the password is
// wrong, or the entry has none, is gone, or is locked after too many tries.
// All others, such as busy or unwilling, may be different the next time.
var wrong = []uint16{
	ldap.LDAPResultInvalidCredentials,
	ldap.LDAPResultInappropriateAuthentication,
	ldap.LDAPResultNoSuchObject,
	ldap.LDAPResultConstraintViolation,
}

// bind tells whether the password is that of the entry dn.
func (d *directory) bind(ctx context.Context, dn, password string) (bool, error) {
	if dn == "" {
		return false, errors.New("the entry found has no name, and binding as nobody always succeeds")
	}
	err := d.binders.ask(ctx, func(c *ldap.Conn) error { return c.Bind(dn, password) })
	var result *ldap.Error
	if errors.As(err, &result) && slices.Contains(wrong, result.ResultCode) {
		return false, nil
	}
	return err == nil, err
}

// dialFinder makes a connection that may search.
func (d *directory) dialFinder(ctx context.Context) (*link, error) {
	password, err := d.config.BindPassword.Reveal()
	if err != nil {
		return nil, fmt.Errorf("bind_password: %w", err)
	}
	l, err := d.dial(ctx)
	if err != nil || d.config.BindDN == "" {
		return l, err
	}
	if err := l.ask(ctx, func(c *ldap.Conn) error { return c.Bind(d.config.BindDN, password) }); err != nil {
		l.Close()
		return nil, fmt.Errorf("bind_dn %s cannot log in; look at bind_password: %w", d.config.BindDN, err)
	}
	return l, nil
}
