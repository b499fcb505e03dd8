package auth

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"postern/relay/message"
)

// CheckDirectories reports what the directories of cfg and the accounts say of
// one another and is not so. Paths are those of the whole configuration.
func CheckDirectories(cfg Config, accounts []Account, bad func(path, format string, args ...any)) {
	var names []string
	for i, a := range accounts {
		names = append(names, a.Name)
		if a.Directory && len(cfg.Directories) == 0 {
			bad(element("accounts", i)+".directory", "there is no directory to check the password; add one to auth.directories, or write a password_hash")
		}
	}
	for i, d := range cfg.Directories {
		if d.Account != "" && !slices.Contains(names, d.Account) {
			bad("auth."+element("directories", i)+".account", "there is no account %q; accounts has %s", d.Account, strings.Join(names, ", "))
		}
	}
}

// known are the accounts whose rights a client at addr may get from a directory.
// A stranger to their networks shall not try passwords there, or have people
// locked out.
func (a *Accounts) known(addr netip.Addr) []string {
	return slices.DeleteFunc(a.directories.Accounts(), func(name string) bool {
		return !a.byName[fold(name)].allows(addr)
	})
}

// ask has the directories check a password.
func (a *Accounts) ask(ctx context.Context, c candidate, password string) (message.Identity, bool, error) {
	who, match, err := a.directories.Login(ctx, c.name, password, c.directories)
	if match && c.account != "" { // the person has an account of that name here
		who = message.Identity{Account: c.account, Addresses: who.Addresses}
	}
	return who, match, err
}

// Close ends the connections to directories. Logins may go on, each with
// connections of its own.
func (a *Accounts) Close() { a.directories.Close() }
