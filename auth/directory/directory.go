// Package directory answers: does an LDAP directory (RFC 4511), such as Active
// Directory or OpenLDAP, know that person, and is the password theirs?
//
// A login takes these steps in each directory, in the order configured:
//
//  1. Find: the name, escaped (RFC 4515, section 3), takes the place of %u in
//     the filter, and the entries below the base that fit are asked for in the
//     name of bind_dn. Exactly one must fit.
//  2. Bind: a second connection binds as that entry with the password. It is
//     used for nothing else, so no search is ever made in the name of a person
//     who logged in.
//  3. Read: the entry says how the person is called and which mail addresses
//     are theirs.
//
// The first directory with an entry decides. One that cannot be asked is
// passed over, so that the next may be another server of the same directory; if
// none of the others grants the login, the answer is that it could not be
// found out. Referrals are not followed: they would take the password to a
// server that nobody configured.
//
// It is left to auth to remember logins, and to say what they are worth.
package directory

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/relay/message"
)

// maxName is how long a name that is looked for may be, in octets.
const maxName = 255

// Set is the directories of one configuration. It may be used by any number of
// sessions at once.
type Set struct {
	all []*directory
	log *slog.Logger
}

// directory is one of them, with its connections.
type directory struct {
	config  Config
	server  *url.URL
	tls     *tls.Config
	filter  filter
	room    chan struct{} // one element for each login being checked
	finders pool          // bound as bind_dn
	binders pool          // bound as whoever logged in last
}

// New makes the directories ready. No connection is made before the first
// login. It refuses whatever Config.Check reports.
func New(configs []Config, log *slog.Logger) (*Set, error) {
	s := &Set{log: log}
	for i, c := range configs {
		d, err := newDirectory(c)
		if err != nil {
			return nil, fmt.Errorf("directories[%d]: %w", i, err)
		}
		s.all = append(s.all, d)
	}
	return s, nil
}

func newDirectory(c Config) (*directory, error) {
	var errs []error
	c.Check(func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	server, _ := url.Parse(c.URL) // Check did
	d := &directory{
		config: c,
		server: server,
		tls:    &tls.Config{ServerName: server.Hostname(), MinVersion: tls.VersionTLS12},
		filter: newFilter(c.Filter),
		room:   make(chan struct{}, c.Connections),
	}
	roots, err := readRoots(c.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	d.tls.RootCAs = roots
	d.finders.dial = d.dialFinder
	d.binders.dial = d.dial
	return d, nil
}

// readRoots reads the roots in a PEM file; nil, the system's, without one.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return roots, nil
}

// Accounts are the accounts whose rights the directories give, each once.
func (s *Set) Accounts() []string {
	var names []string
	for _, d := range s.all {
		if !slices.Contains(names, d.config.Account) {
			names = append(names, d.config.Account)
		}
	}
	return names
}

// Login tells who name is, and whether the password is theirs. Only the
// directories that give the rights of one of accounts are asked. The error says
// that it could not be found out.
func (s *Set) Login(ctx context.Context, name, password string, accounts []string) (message.Identity, bool, error) {
	// A bind without a password succeeds for every name (RFC 4513, section 5.1.2).
	if password == "" || !isName(name) {
		return message.Identity{}, false, nil
	}
	var away []error
	for _, d := range s.all {
		if !slices.Contains(accounts, d.config.Account) {
			continue
		}
		who, outcome, err := d.login(ctx, name, password)
		switch outcome {
		case granted:
			return who, true, nil
		case refused:
			return message.Identity{}, false, errors.Join(away...)
		case unanswered:
			// Without the name: people type passwords there.
			s.log.Error("directory cannot be asked", "url", d.config.URL, "error", err)
			away = append(away, err)
		case ambiguous:
			s.log.Error("directory has several entries for one login, which is refused; make auth.directories.filter stricter",
				"url", d.config.URL, "user", name)
			return message.Identity{}, false, errors.Join(away...)
		}
	}
	return message.Identity{}, false, errors.Join(away...)
}

// isName tells whether a directory may be asked for name.
func isName(name string) bool {
	return name != "" && len(name) <= maxName && utf8.ValidString(name) && !hasControl(name)
}

func hasControl(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return true
		}
	}
	return false
}

// An outcome is what one directory says of a login.
type outcome int

const (
	unknown    outcome = iota // no entry fits
	ambiguous                 // more than one does
	refused                   // the password is wrong
	granted                   // it is right
	unanswered                // the directory could not say
)

// login asks one directory. The error tells why it is unanswered.
func (d *directory) login(ctx context.Context, name, password string) (message.Identity, outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(d.config.Timeout))
	defer cancel()
	select {
	case d.room <- struct{}{}:
		defer func() { <-d.room }()
	case <-ctx.Done():
		return message.Identity{}, unanswered, fmt.Errorf("%d logins are being checked already: %w", cap(d.room), ctx.Err())
	}
	entry, several, err := d.find(ctx, name)
	switch {
	case err != nil:
		return message.Identity{}, unanswered, fmt.Errorf("search: %w", err)
	case several:
		return message.Identity{}, ambiguous, nil
	case entry == nil:
		return message.Identity{}, unknown, nil
	}
	right, err := d.bind(ctx, entry.DN, password)
	switch {
	case err != nil:
		return message.Identity{}, unanswered, fmt.Errorf("bind: %w", err)
	case !right:
		return message.Identity{}, refused, nil
	}
	return message.Identity{
		Account:   d.config.Account,
		User:      d.filter.user(entry, name),
		Addresses: addresses(entry, d.config.MailAttributes),
	}, granted, nil
}

// Close ends all connections, those in use as soon as they are not any more.
func (s *Set) Close() {
	for _, d := range s.all {
		d.finders.close()
		d.binders.close()
	}
}
