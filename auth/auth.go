// Package auth answers: who is it? It holds the accounts and tells whether a
// password, a token, a certificate or an answer to a challenge belongs to one of
// them.
//
// A login by password takes these steps:
//
//  1. The name, in any letter case, finds an account and its hash. A name that
//     can never succeed from there (nobody's, without a hash, or of an account
//     whose networks do not hold the client) goes through all the other steps
//     too, so that neither the reply nor the time tells that it cannot. Where
//     there are directories, they are asked for names that no account has.
//  2. A login that succeeded in the last five minutes succeeds at once; one
//     that failed in the last five seconds fails at once. Devices log in for
//     each message, and some repeat a wrong password without pause.
//  3. The same login tried several times at once is checked once.
//  4. The password is compared with the hash when the pool, bounded by memory
//     and by CPUs, has room; or a directory says whether it is right.
//
// It is left to others to speak LDAP (auth/directory) and SASL (relay/submission), to say what an account
// may do (policy), and to shut out who guesses. Replies: 535 5.7.8 says that
// the login is wrong, 454 4.7.0 that it could not be checked, which is our trouble
// and never the client's fault.
package auth

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"

	"postern/auth/bearer"
	"postern/auth/directory"
	"postern/relay/message"
	"postern/relay/setting"
)

const (
	// patience is how long a login waits for room in the pool. Clients give a
	// command at least five minutes (RFC 5321, section 4.5.3.2), but devices do not.
	patience = 30 * time.Second

	goodLife = 5 * time.Minute
	badLife  = 5 * time.Second
	// remembered bounds each cache: about half a MiB.
	remembered = 4096
)

// Accounts are the accounts of one configuration; a reload makes new ones. They
// may be used by any number of sessions at once.
type Accounts struct {
	mechanisms []string
	byName     map[string]*account // by folded name and alias
	trusts     []trust             // the smallest networks first
	standIns   []hash              // of all accounts
	secret     []byte              // keys the HMAC of cache keys
	pool       *pool
	good, bad  *cache
	flights    singleflight.Group

	certificates map[CertificateName]*account
	scram        scramStandIns
	directories  *directory.Set
	tokens       *bearer.Verifier
	subjects     map[bearer.Subject]*account

	log *slog.Logger
}

// account is an Account as it is looked up.
type account struct {
	name      string
	directory bool // which knows its password
	secret    setting.Secret
	scram     setting.Secret
	cram      setting.Secret
	networks  setting.Networks
	text      string // what secret held when hash was read from it
	hash      hash
}

// New makes the accounts ready. It refuses whatever the Check functions
// report, and hashes that need more memory than cfg has.
func New(cfg Config, accounts []Account, log *slog.Logger) (*Accounts, error) {
	if err := check(cfg, accounts); err != nil {
		return nil, err
	}
	a := &Accounts{
		mechanisms: slices.Clone(cfg.Mechanisms),
		byName:     make(map[string]*account),
		trusts:     trustsOf(accounts),
		secret:     make([]byte, 32),
		pool:       newPool(int64(cfg.Memory), cores()),
		good:       newCache(goodLife, remembered),
		bad:        newCache(badLife, remembered),

		certificates: make(map[CertificateName]*account),
		subjects:     make(map[bearer.Subject]*account),
		log:          log,
	}
	var err error
	if a.directories, err = directory.New(cfg.Directories, log); err != nil {
		return nil, fmt.Errorf("auth.%w", err)
	}
	if a.tokens, err = bearer.New(cfg.Issuers, log); err != nil {
		return nil, fmt.Errorf("auth.%w", err)
	}
	rand.Read(a.secret) // never fails (crypto/rand)
	for i, entry := range accounts {
		if err := a.add(entry); err != nil {
			return nil, fmt.Errorf("accounts[%d].password_hash: %w", i, err)
		}
	}
	a.scram = newSCRAMStandIns(accounts)
	if len(a.standIns) == 0 {
		blank, err := parseWithin(blankHash(), a.pool.size)
		if err != nil {
			return nil, err
		}
		a.standIns = []hash{blank}
	}
	return a, nil
}

// check gathers what the three Check functions report.
func check(cfg Config, accounts []Account) error {
	var errs []error
	under := func(path string) func(key, format string, args ...any) {
		return func(key, format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s.%s: %s", path, key, fmt.Sprintf(format, args...)))
		}
	}
	cfg.Check(under("auth"))
	for i, entry := range accounts {
		entry.Check(under(element("accounts", i)))
	}
	at := func(i int, key, format string, args ...any) { under(element("accounts", i))(key, format, args...) }
	Check(accounts, at)
	CheckTrusted(accounts, at)
	CheckMechanisms(cfg, accounts, under("auth"))
	CheckDirectories(cfg, accounts, func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	})
	CheckSubjects(cfg, accounts, func(i int, key, format string, args ...any) {
		under(element("accounts", i))(key, format, args...)
	})
	return errors.Join(errs...)
}

func (a *Accounts) add(entry Account) error {
	acc := &account{name: entry.Name, directory: entry.Directory, secret: entry.PasswordHash, scram: entry.SCRAM, cram: entry.CRAMSecret, networks: entry.Networks}
	for _, c := range entry.Certificates {
		a.certificates[c] = acc
	}
	if !entry.PasswordHash.IsZero() {
		var err error
		if acc.text, err = entry.PasswordHash.Reveal(); err != nil {
			return err
		}
		if acc.hash, err = parseWithin(acc.text, a.pool.size); err != nil {
			return err
		}
		a.standIns = append(a.standIns, acc.hash)
	}
	for _, name := range append([]string{entry.Name}, entry.Aliases...) {
		a.byName[fold(name)] = acc
	}
	for _, s := range entry.Subjects {
		a.subjects[s] = acc
	}
	return nil
}

// Mechanisms are the names of the SASL mechanisms offered, in order.
func (a *Accounts) Mechanisms() []string { return slices.Clone(a.mechanisms) }

// Password tells who name and password, given from addr, belong to; Account is
// the account's Name as configured. Errors are [*message.Reply]: 535 when
// there is nobody or they may not log in from addr, 454 when that could not be
// found out before ctx ended or the pool had room, or as a directory is away.
func (a *Accounts) Password(ctx context.Context, name, password string, addr netip.Addr) (message.Identity, error) {
	nobody := message.Identity{}
	// What no account can have is refused at once, whatever the name is.
	if password == "" || len(password) > maxPassword {
		return nobody, wrong()
	}
	c, err := a.candidate(name, addr)
	if err != nil {
		a.log.Error("password hash cannot be read", "account", c.account, "error", err)
		return nobody, unchecked()
	}
	k := a.key(append([]string{c.name, c.account, c.text, password}, c.directories...)...)
	if who, ok := a.good.get(k); ok {
		return who, nil
	}
	if _, ok := a.bad.get(k); ok {
		return nobody, wrong()
	}
	who, match, err := a.compare(ctx, k, c, password)
	switch {
	case err != nil && c.directories != nil:
		return nobody, unchecked()
	case err != nil:
		return nobody, message.Refuse(454, "4.7.0", "Too many logins are being checked, try again in a minute")
	case !match:
		return nobody, wrong()
	}
	return who, nil
}

// wrong is the one reply to every login that is not ours to grant.
func wrong() error {
	return message.Refuse(535, "5.7.8", "User name or password is wrong, or not valid from this address")
}

// unchecked says that it is our trouble.
func unchecked() error {
	return message.Refuse(454, "4.7.0", "The login cannot be checked at the moment, try again later")
}

// A candidate is who a login may turn out to be.
type candidate struct {
	name    string // folded, as it was given; for directories, as they are asked
	account string // "" when the login fails whatever the password is, or a directory says whose it is
	text    string // the hash as configured; "" with a stand-in
	hash    hash
	// directories that are asked instead of comparing with the hash are those
	// which give the rights of these accounts.
	directories []string
}

// candidate finds the hash to compare with, or the directories to ask. The
// error is about the hash of the account it names.
func (a *Accounts) candidate(given string, addr netip.Addr) (candidate, error) {
	name := fold(given)
	acc := a.byName[name]
	if known := a.known(addr); acc == nil && len(known) > 0 {
		return candidate{name: given, directories: known}, nil
	}
	if acc != nil && acc.directory && acc.allows(addr) {
		return candidate{name: acc.name, account: acc.name, directories: a.directories.Accounts()}, nil
	}
	if acc == nil || acc.secret.IsZero() {
		return candidate{name: name, hash: a.standIn(name)}, nil
	}
	text, h, err := acc.current(a.pool.size)
	if err != nil {
		return candidate{account: acc.name}, err
	}
	c := candidate{name: name, text: text, hash: h}
	if acc.allows(addr) {
		c.account = acc.name
	}
	return c, nil
}

// allows tells whether the account may be used from addr. A link-local
// client's zone is an interface of ours, not part of its network.
func (acc *account) allows(addr netip.Addr) bool {
	return len(acc.networks) == 0 || acc.networks.Contain(addr.Unmap().WithZone(""))
}

// current reads the hash again, as it may stand in a file that has changed.
func (acc *account) current(memory int64) (string, hash, error) {
	text, err := acc.secret.Reveal()
	if err != nil {
		return "", hash{}, err
	}
	if text == acc.text {
		return text, acc.hash, nil
	}
	h, err := parseWithin(text, memory)
	return text, h, err
}

// standIn is the hash that a password for a name without one is compared with:
// always the same one, of any account. So such names cost what the accounts
// do, also where accounts differ.
func (a *Accounts) standIn(name string) hash {
	k := a.key(name)
	return a.standIns[binary.BigEndian.Uint64(k[:])%uint64(len(a.standIns))]
}

// cores is how many comparisons may run at once. One core is left for mail and
// for logins that are remembered: a whole fleet logging in must not slow them.
func cores() int { return max(1, runtime.GOMAXPROCS(0)-1) }
